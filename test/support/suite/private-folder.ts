import { mkdtempSync, rmSync } from 'node:fs';
import path from 'node:path';
import { sharedTemporaryFolder } from '../guest/guest-job.js';

/** A folder of this run's own that goes when the process ends, also by Ctrl-C. */
export function makePrivateFolder(): string {
  const folder = mkdtempSync(path.join(sharedTemporaryFolder(), 'lvmsync-test-'));
  process.once('exit', () => {
    rmSync(folder, { recursive: true, force: true });
  });
  for (const [signal, status] of [
    ['SIGHUP', 129],
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    process.once(signal, () => process.exit(status));
  }
  return folder;
}

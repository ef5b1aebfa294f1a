import { cpSync, readdirSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { bootGuest } from '../test/support/guest/boot-guest.js';
import { makePrivateFolder } from '../test/support/suite/private-folder.js';

// tsx native-test-images/make.ts: has a real kernel write all stores anew, in place of those that lie here
const here = import.meta.dirname;
const folder = makePrivateFolder();
const { status, ended } = await bootGuest({
  command: [process.execPath, '--import', 'tsx', path.join(here, 'make-in-guest.ts'), folder],
  folder: path.dirname(here),
  environment: { TSX_DISABLE_CACHE: '1' },
  disks: ['1G', '1G'],
  timeoutSeconds: 900,
  onOutput: (stream, piece) => process[stream].write(piece),
});
if (status !== 0) throw new Error(`the guest ${ended}, status ${status ?? 'none'}`);

for (const old of readdirSync(here).filter((name) => name.endsWith('.br'))) rmSync(path.join(here, old));
cpSync(folder, here, { recursive: true });
const bytes = readdirSync(here).reduce((sum, name) => sum + statSync(path.join(here, name)).size, 0);
console.log(`${(bytes / 1024 / 1024).toFixed(1)} MiB in all`);

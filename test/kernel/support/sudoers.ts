import { chmodSync, rmSync, writeFileSync } from 'node:fs';
import { run } from './run.js';

const FILE = '/run/sudoers';

/** sudo's rules in the guest, in place of the host's. */
export interface Sudoers {
  /** Replaces them by these lines, after those that every test needs. */
  write(...lines: readonly string[]): void;
  remove(): Promise<void>;
}

/**
 * Takes sudo's rules over; there are none for anybody at first. To be called before hosts are started: what is
 * mounted later is not seen in their namespaces.
 */
export async function takeOverSudoers(): Promise<Sudoers> {
  // A line's own program, node for it, and no udev: what a real host has by itself.
  const needed = `Defaults secure_path="${process.env['PATH'] ?? ''}", env_keep += "DM_DISABLE_UDEV"`;
  const write = (...lines: readonly string[]): void => {
    writeFileSync(FILE, `${[needed, ...lines].join('\n')}\n`, { flag: 'w' });
    chmodSync(FILE, 0o440);
  };
  write();
  await run(['mount', '--bind', FILE, '/etc/sudoers']);
  return {
    write,
    remove: async () => {
      await run(['umount', '/etc/sudoers']);
      rmSync(FILE);
    },
  };
}

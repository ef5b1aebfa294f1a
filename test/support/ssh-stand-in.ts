import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';

/**
 * Writes a program `ssh` that knows one thing, to print a configuration (`ssh -G`): with its folder first in PATH,
 * lvmsync takes the key and the known_hosts of `sshFolder` for the user's own. HOME changes nothing for OpenSSH.
 */
export function writeSshStandIn(commands: string, sshFolder: string): void {
  const lines = [
    `identityfile ${path.join(sshFolder, 'id_ed25519')}`,
    `userknownhostsfile ${path.join(sshFolder, 'known_hosts')}`,
    'globalknownhostsfile none',
    'identityagent none',
  ];
  mkdirSync(commands, { recursive: true });
  writeFileSync(path.join(commands, 'ssh'), `#!/bin/sh\ncat <<'END'\n${lines.join('\n')}\nEND\n`, {
    mode: 0o755,
  });
}

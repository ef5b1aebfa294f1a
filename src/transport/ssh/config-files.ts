import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Destination } from '../target-spec.js';
import type { ConfigWords } from './host-config.js';
import type { SshSettings } from './settings.js';

/**
 * Reads the user's and the system's ssh_config, for a host without OpenSSH's client. Include is not followed, and
 * `Match exec` never matches; a notice says so where that was asked for.
 */
export async function readConfigFiles(
  { user, host }: Destination,
  settings: SshSettings,
  notice: (line: string) => void,
): Promise<ConfigWords> {
  const texts: string[] = [];
  for (const file of [join(settings.home, '.ssh', 'config'), '/etc/ssh/ssh_config']) {
    const text = await readFile(file, 'utf8').catch(() => '');
    const [, missed] = /^\s*(include|match\s.*\bexec)\b/im.exec(text) ?? [];
    if (missed !== undefined) {
      notice(
        `${file}: ${missed.trim().split(/\s/)[0] ?? ''} is not followed, as there is no OpenSSH client here`,
      );
    }
    // A file begins outside of any block. Canonical names would be looked up by another program.
    texts.push(`Host *\n${text.replace(/^\s*Canonical.*$/gim, '')}`);
  }
  const { default: SSHConfig } = await import('ssh-config');
  const options = { Host: host, ...(user === null ? {} : { User: user }) };
  const computed: Readonly<Record<string, string | string[]>> = SSHConfig.parse(texts.join('\n')).compute(
    options,
    {
      ignoreCase: true,
      matchExec: false,
    },
  );
  const words = Object.entries(computed).map(
    ([keyword, value]) => [keyword.toLowerCase(), typeof value === 'string' ? [value] : value] as const,
  );
  return new Map([...words, ...expandHostName(computed['hostname'], host)]);
}

/** `ssh -G` prints it expanded. */
function expandHostName(word: string | string[] | undefined, host: string): [string, string[]][] {
  return typeof word === 'string'
    ? [['hostname', [word.replace(/%([%h])/g, (_, token) => (token === 'h' ? host : '%'))]]]
    : [];
}

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CommandError, TransportError } from '../../errors.js';
import type { Surroundings } from '../../host/surroundings.js';
import type { RemoteHost } from '../target-spec.js';
import { type ConfigWords, readHostConfig, type HostConfig } from './host-config.js';
import type { SshSettings } from './settings.js';

/**
 * Reads the user's and the system's ssh_config, for a host without the OpenSSH client. Include is not followed, and
 * `Match exec` never matches; a notice says so if the files use them.
 */
export async function readConfigFiles(
  { user, host }: RemoteHost,
  settings: SshSettings,
  notice: (line: string) => void,
): Promise<ConfigWords> {
  const texts: string[] = [];
  for (const file of [join(settings.home, '.ssh', 'config'), '/etc/ssh/ssh_config']) {
    const text = await readFile(file, 'utf8').catch(() => '');
    const [, missed] = /^\s*(include|match\s.*\bexec)\b/im.exec(text) ?? [];
    if (missed !== undefined) {
      notice(
        `${file}: ${missed.trim().split(/\s/)[0] ?? ''} is ignored, because there is no OpenSSH client on this host`,
      );
    }
    // Each file begins outside any block. Canonical names would need a lookup by another program.
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

/** `ssh -G` prints it expanded; the files do not have it so. */
function expandHostName(word: string | string[] | undefined, host: string): [string, string[]][] {
  return typeof word === 'string'
    ? [['hostname', [word.replace(/%([%h])/g, (_, token) => (token === 'h' ? host : '%'))]]]
    : [];
}

/**
 * What the user's ssh configuration says about a host. The OpenSSH client is asked (`ssh -G`); if it is not installed,
 * the files are read here.
 *
 * @throws TransportError if the configuration is wrong, or has a setting that must not be ignored.
 */
export async function resolveHost(
  destination: RemoteHost,
  settings: SshSettings,
  { spawner, notice }: Pick<Surroundings, 'spawner' | 'notice'>,
): Promise<HostConfig> {
  const { user, host, port } = destination;
  const words = [
    ...(port === null ? [] : ['-p', String(port)]),
    ...(user === null ? [] : ['-l', user]),
    ...['--', host],
  ];
  try {
    const [{ status, stdout, stderr }, plain] = await Promise.all([
      spawner.run(['ssh', '-G', ...words]),
      // The dump always contains the ciphers: only a comparison with the defaults shows whether the user chose them.
      spawner.run(['ssh', '-G', '-F', 'none', '--', host]),
    ]);
    if (status !== 0) {
      const said = stderr.trim().split('\n').slice(-2).join('; ');
      throw new TransportError(`${host}: the ssh configuration cannot be used: ${said}`);
    }
    const defaultCiphers = parseDump(plain.stdout).get('ciphers')?.[0];
    return readHostConfig(
      destination,
      { words: parseDump(stdout), isExpanded: true, defaultCiphers },
      settings,
    );
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    const fromFiles = { words: await readConfigFiles(destination, settings, notice), isExpanded: false };
    return readHostConfig(destination, fromFiles, settings);
  }
}

/** Reads what `ssh -G` prints: one line for each value, with the keyword in lower case, a space, the value as it is. */
export function parseDump(text: string): ConfigWords {
  const words = new Map<string, string[]>();
  for (const line of text.split('\n')) {
    const [, keyword, value] = /^(\S+) (.*)$/.exec(line) ?? [];
    if (keyword === undefined || value === undefined) continue;
    words.set(keyword.toLowerCase(), [...(words.get(keyword.toLowerCase()) ?? []), value]);
  }
  return words;
}

import { appendFile, mkdir, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { describeCause, TransportError } from '../../errors.js';
import type { HostConfig } from './host-config.js';
import {
  judgeShownKey,
  objectToHostKey,
  type HostsOnFile,
  type ShownKey,
  fingerprintOf,
  formatKnownHost,
  keyTypeOf,
  nameOnFile,
} from './known-hosts.js';
import { nameOf } from './line.js';
import type { Prompter } from './settings.js';

/** Asks the user about a key, and reports the outcome. */
export interface Witness {
  readonly prompter: Prompter | null;
  readonly notice: (line: string) => void;
  readonly signal: AbortSignal;
}

/**
 * Decides whether a host's key is trusted, as OpenSSH does: a key on file is, a changed or revoked one never is. For
 * an unknown key the configuration (StrictHostKeyChecking) and the user at the terminal decide, and it is then added
 * to the user's first known_hosts file.
 *
 * @throws TransportError if it is not trusted: one sentence says why and what to do.
 */
export async function trustHostKey(
  config: HostConfig,
  onFile: HostsOnFile,
  key: Buffer,
  witness: Witness,
): Promise<void> {
  const shown = judgeShownKey(onFile, key);
  const objection = objectToHostKey(shown, nameOf(config));
  if (objection !== null) throw objection;
  if (shown.verdict.kind === 'known') return;
  if (config.strictness === 'yes')
    throw unknownKey(config, shown, 'StrictHostKeyChecking does not allow asking');
  if (config.strictness === 'ask') await askAboutKey(config, shown, witness);
  await learnKey(config, shown, witness.notice);
}

function unknownKey(config: HostConfig, { text }: ShownKey, why: string): TransportError {
  const { name, hostName, port } = config;
  const byHand = port === 22 ? `ssh ${name}` : `ssh -p ${port} ${name}`;
  return new TransportError(
    `${nameOf(config)}: its host key ${text} is not in any known_hosts file, and ${why}; connect once with "${byHand}" ` +
      `and compare the fingerprint, or add the output of "ssh-keyscan -p ${port} ${hostName}" after you have compared it`,
  );
}

async function askAboutKey(
  config: HostConfig,
  shown: ShownKey,
  { prompter, signal }: Witness,
): Promise<void> {
  if (prompter === null) throw unknownKey(config, shown, 'there is no one to ask');
  const fingerprint = fingerprintOf(shown.key);
  let question =
    `The authenticity of host '${nameOf(config)}' can't be established.\n` +
    `${keyTypeOf(shown.key)} key fingerprint is ${fingerprint}.\n` +
    'Are you sure you want to continue connecting (yes/no/[fingerprint])? ';
  for (;;) {
    const answer = await prompter.ask(question, { echo: true, signal });
    const word = answer?.trim() ?? 'no';
    if (word.toLowerCase() === 'yes' || word === fingerprint) return;
    if (word.toLowerCase() === 'no') {
      throw new TransportError(`${nameOf(config)}: its host key ${shown.text} was not accepted`);
    }
    question = "Please type 'yes', 'no' or the fingerprint: ";
  }
}

async function learnKey(
  config: HostConfig,
  { key, text }: ShownKey,
  notice: Witness['notice'],
): Promise<void> {
  const { hostKeyAlias, hostName, port, hashNames } = config;
  const [file] = config.userKnownHosts;
  if (file === undefined) return;
  const name = hostKeyAlias?.toLowerCase() ?? nameOnFile(hostName, port);
  try {
    await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    const before = await readFile(file, 'latin1').catch(() => '');
    const separator = before === '' || before.endsWith('\n') ? '' : '\n';
    await appendFile(file, separator + formatKnownHost(name, key, hashNames), { mode: 0o600 });
    notice(`${nameOf(config)}: its host key ${text} was added to ${file}`);
  } catch (error) {
    // As in ssh: trusted for this connection only.
    notice(`${nameOf(config)}: its ${keyTypeOf(key)} host key could not be added: ${describeCause(error)}`);
  }
}

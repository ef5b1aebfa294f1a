import ssh2, {
  type IdentityCallback,
  type ParsedKey,
  type SignCallback,
  type SigningRequestOptions,
} from 'ssh2';
import { describeCause } from '../../errors.js';
import type { KeyFile } from './keys.js';

/** Where the keys come from. */
export interface KeySources {
  readonly agentSocket: string | null;
  readonly files: readonly KeyFile[];
  /** Offer only those of the agent's keys that are also in `files`. */
  readonly identitiesOnly: boolean;
  /** Returns a file's private key, which may need a question to the user; null if that fails. */
  readonly open: (file: KeyFile) => Promise<ParsedKey | null>;
  readonly noteAgentFailure: (problem: string) => void;
}

/** Signs with a key's private half, wherever it is. */
type Sign = (data: Buffer, options: SigningRequestOptions) => Promise<Buffer>;

/**
 * One key, as an agent in ssh2's sense: its signature may need a question to the user, or a real agent, and is asked
 * for only once the server has said that it would accept the key.
 */
export class OfferedKey extends ssh2.BaseAgent<ParsedKey> {
  /** The server asked for a signature, and got one. */
  hasSigned = false;

  constructor(
    /** Where the key comes from, for messages. */
    readonly label: string,
    private readonly publicKey: ParsedKey,
    private readonly signer: Sign,
  ) {
    super();
  }

  override getIdentities(callback: IdentityCallback<ParsedKey>): void {
    callback(null, [this.publicKey]);
  }

  override sign(
    _publicKey: ParsedKey,
    data: Buffer,
    options: SigningRequestOptions | SignCallback,
    callback?: SignCallback,
  ): void {
    const done = typeof options === 'function' ? options : callback;
    this.signer(data, typeof options === 'function' ? {} : options).then(
      (signature) => {
        this.hasSigned = true;
        done?.(null, signature);
      },
      (error: unknown) => done?.(error instanceof Error ? error : new Error(String(error))),
    );
  }
}

/**
 * The keys to offer, in OpenSSH's order: the files' keys that the agent has, the agent's other keys, the remaining
 * files' keys. Files without a readable public key are left out.
 */
export async function collectKeys(sources: KeySources): Promise<OfferedKey[]> {
  const { agentSocket, files, identitiesOnly, noteAgentFailure } = sources;
  const agent = agentSocket === null ? null : new ssh2.OpenSSHAgent(agentSocket);
  const held = agent === null ? [] : await askAgent(agent, noteAgentFailure);
  const byId = new Map(held.map((key) => [idOf(key), key]));
  const named = files.flatMap(({ publicKey }) => (publicKey === null ? [] : [publicKey]));
  const namedIds = new Set(named.map(idOf));
  const ofAgent = [
    ...named.flatMap((key) => byId.get(idOf(key)) ?? []),
    ...(identitiesOnly ? [] : held.filter((key) => !namedIds.has(idOf(key)))),
  ];
  const offered = new Map<string, OfferedKey>();
  const offer = (label: string, key: ParsedKey, signer: Sign): void => {
    if (!offered.has(idOf(key))) offered.set(idOf(key), new OfferedKey(label, key, signer));
  };
  for (const key of ofAgent) {
    if (agent === null) break;
    offer(`the agent's keys`, key, signerOf(agent, key, noteAgentFailure));
  }
  for (const file of files) {
    if (file.publicKey === null || file.privateKey === null) continue;
    offer(file.path, file.publicKey, async (data, { hash }) => {
      const key = await sources.open(file);
      if (key === null) throw new Error(`${file.path} stays locked`);
      return key.sign(data, hash);
    });
  }
  return [...offered.values()];
}

function askAgent(agent: ssh2.OpenSSHAgent, noteFailure: (problem: string) => void): Promise<ParsedKey[]> {
  return new Promise((resolve) => {
    agent.getIdentities((error, keys) => {
      if (error) noteFailure(describeCause(error));
      resolve((keys ?? []) as ParsedKey[]);
    });
  });
}

function signerOf(agent: ssh2.OpenSSHAgent, key: ParsedKey, noteFailure: (problem: string) => void): Sign {
  return (data, options) =>
    new Promise((resolve, reject) => {
      agent.sign(key, data, options, (error, signature) => {
        if (signature !== undefined && !error) {
          resolve(signature);
          return;
        }
        noteFailure(error ? describeCause(error) : 'it signed nothing');
        reject(error ?? new Error('the agent signed nothing'));
      });
    });
}

function idOf(key: ParsedKey): string {
  return key.getPublicSSH().toString('latin1');
}

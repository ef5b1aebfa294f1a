import ssh2, { type CipherAlgorithm, type Client } from 'ssh2';
import { TransportError, describeCause, LineError } from '../../errors.js';
import type { Surroundings } from '../../host/surroundings.js';
import type { Line } from './channel.js';
import type { HostConfig } from './host-config.js';
import type { KeyFiles } from './keys.js';
import { orderAlgorithms, type HostsOnFile } from './known-hosts.js';
import { nameOf, type RawLine } from './line.js';
import { prepareLogin, type Login } from './login.js';
import { Patience, type SshSettings } from './settings.js';
import { trustHostKey, type Witness } from './trust.js';

/** The ciphers that ssh2 supports, by OpenSSH's names. */
const SPOKEN: readonly CipherAlgorithm[] = [
  ...(['aes128-gcm@openssh.com', 'aes256-gcm@openssh.com', 'chacha20-poly1305@openssh.com'] as const),
  ...([
    'aes128-ctr',
    'aes192-ctr',
    'aes256-ctr',
    'aes128-cbc',
    'aes192-cbc',
    'aes256-cbc',
    '3des-cbc',
  ] as const),
];

/**
 * The ciphers to offer, in the configuration's order; null if the configuration sets none: ssh2 then prefers those
 * that this processor computes fast. Throws TransportError if ssh2 supports none of the configured ones.
 */
export function chooseCiphers(config: HostConfig): CipherAlgorithm[] | null {
  if (config.ciphers === null) return null;
  const chosen = config.ciphers.flatMap((name) => SPOKEN.filter((cipher) => cipher === name));
  if (chosen.length > 0) return chosen;
  throw new TransportError(
    `${nameOf(config)}: the built-in ssh supports none of the configured Ciphers (${config.ciphers.join(',')}): ` +
      'use --rsh ssh',
  );
}

/**
 * Watches that bytes keep coming over a connection whose far side answers regular probes. Any byte counts: on a busy
 * connection the answer to a probe may wait behind megabytes. Returns a function that ends the watch.
 *
 * @param onDead called once, after `count` intervals in which nothing came
 */
export function watchLiveness(
  line: RawLine,
  {
    keepaliveIntervalMs,
    keepaliveCount,
  }: { readonly keepaliveIntervalMs: number; readonly keepaliveCount: number },
  onDead: () => void,
): () => void {
  let seen = line.bytesRead();
  let silent = 0;
  // Counts checks, not time: a machine that was suspended must not conclude that the others were silent.
  const timer = setInterval(() => {
    const now = line.bytesRead();
    silent = now === seen ? silent + 1 : 0;
    seen = now;
    if (silent <= keepaliveCount) return;
    clearInterval(timer);
    onDead();
  }, keepaliveIntervalMs);
  timer.unref();
  return () => {
    clearInterval(timer);
  };
}

/** How long to wait for a broken proxy's own error message. */
const LAST_WORDS_MS = 1_000;

/** What was read before the first byte was sent. */
export interface Prepared {
  readonly onFile: HostsOnFile;
  readonly keys: KeyFiles;
}

/** How the user is asked and told, and what was answered before. */
export type UserTalk = Pick<SshSettings, 'prompter' | 'remembered'> & Pick<Surroundings, 'notice'>;

/**
 * Speaks ssh over a connection: checks the host's key and logs in.
 *
 * @throws TransportError that says why not, and what to do; whatever a prompter throws.
 */
export async function shakeHands(
  raw: RawLine,
  config: HostConfig,
  user: UserTalk,
  { onFile, keys }: Prepared,
): Promise<Line> {
  const ciphers = chooseCiphers(config);
  const handshake = new Handshake(config);
  const patience = new Patience(config.connectTimeoutMs, () => {
    handshake.lose(
      `it accepted the connection, but did not answer as an ssh server within ${config.connectTimeoutMs / 1000} s`,
    );
  });
  const prompter = user.prompter === null ? null : patience.pausedBy(user.prompter);
  const { client, signal, failWith } = handshake;
  const login = prepareLogin(config, {
    keys,
    prompter,
    remembered: user.remembered,
    signal,
    fail: failWith,
  });
  handshake.listen(login);
  client.connect({
    sock: raw.stream,
    username: config.user,
    readyTimeout: 0,
    // ssh2 sends the probes, but would count only their answers: watchLiveness judges the connection instead.
    keepaliveInterval: config.keepaliveIntervalMs,
    keepaliveCountMax: Number.MAX_SAFE_INTEGER,
    algorithms: {
      serverHostKey: orderAlgorithms(onFile.entries.length > 0 ? onFile.entries : onFile.withoutPort),
      ...(ciphers === null ? {} : { cipher: ciphers }),
    },
    hostVerifier: verifyBy(config, onFile, { prompter, notice: user.notice, signal }, failWith),
    authHandler: login.authHandler,
  });
  try {
    await handshake.done;
  } catch (error) {
    throw await explainByProxy(raw, config, error);
  } finally {
    patience.end();
    handshake.end();
  }
  login.noteSuccess();
  const stopWatch = watchLiveness(raw, config, () => {
    handshake.problem = `no sign of life for ${(config.keepaliveIntervalMs * config.keepaliveCount) / 1000} s`;
    raw.stream.destroy();
  });
  client.once('close', stopWatch);
  const { cipher } = handshake;
  return { client, stream: raw.stream, cipher, problem: () => raw.problem() ?? handshake.problem };
}

/** An ssh2 client during the login, and the first thing that ends the login. */
class Handshake {
  readonly client: Client = new ssh2.Client();
  readonly done: Promise<void>;
  /** Why the connection broke, once it did. */
  problem = 'the far side closed it';
  /** The negotiated cipher; empty before. */
  cipher = '';
  /** Ends the login with any error; only the first counts. */
  readonly failWith: (error: unknown) => void;
  readonly #isOver = new AbortController();

  constructor(private readonly config: HostConfig) {
    let reject: (error: unknown) => void = () => undefined;
    this.done = new Promise((resolve, rejectDone) => {
      reject = rejectDone;
      this.client.once('ready', resolve);
    });
    this.failWith = (error) => {
      reject(error);
    };
  }

  /** Aborted when the login has ended, in success or failure: open questions are then of no use. */
  get signal(): AbortSignal {
    return this.#isOver.signal;
  }

  end(): void {
    this.#isOver.abort();
  }

  fail(text: string, cause?: unknown): void {
    this.failWith(new TransportError(`${nameOf(this.config)}: ${text}`, { cause }));
  }

  /** As `fail`, for a connection that may work another time. */
  lose(text: string, cause?: unknown): void {
    this.failWith(new LineError(`${nameOf(this.config)}: ${text}`, { cause }));
  }

  listen(login: Login): void {
    // Stays for the connection's whole life: an 'error' without a listener would end the process.
    this.client.on('error', (error: Error & { level?: string }) => {
      // The login knows about it, and continues.
      if (error.level === 'agent') return;
      this.problem = describeClientError(error);
      if (error.level === 'client-socket') this.lose(this.problem, error);
      else this.fail(error.level === 'client-authentication' ? login.describeFailure() : this.problem, error);
    });
    this.client.once('close', () => {
      this.lose('it closed the connection before the login was complete');
    });
    this.client.once('handshake', ({ cs }) => {
      this.cipher = cs.cipher;
    });
    this.client.on('change password', () => {
      const { user, name } = this.config;
      this.fail(`the password of ${user} has expired: change it with "ssh ${name}"`);
    });
  }
}

function describeClientError(error: Error & { level?: string }): string {
  if (error.level === 'client-socket') return describeCause(error);
  if (/too many authentication failures/i.test(error.message)) {
    return (
      'too many authentication failures: set IdentityFile and IdentitiesOnly for this host in ' +
      '~/.ssh/config, so that only the right key is offered'
    );
  }
  if (/no matching/i.test(error.message)) return `${describeOffer(error.message)}; ${OPENSSH}`;
  return `the ssh connection failed: ${error.message}`;
}

const OPENSSH = '"--rsh ssh" uses the OpenSSH client, which may support them';

/** The server's algorithms and ours have nothing in common; `message` is ssh2's text. */
function describeOffer(message: string): string {
  if (/key exchange/i.test(message)) {
    return 'it offers only key exchanges that the built-in ssh does not support, such as post-quantum ones';
  }
  return `it offers only algorithms that the built-in ssh does not support (${message})`;
}

/** If the connection goes through a proxy, the proxy's own last words are the better reason. */
async function explainByProxy(raw: RawLine, config: HostConfig, error: unknown): Promise<unknown> {
  if (config.proxy === null || !(raw.stream.destroyed || raw.stream.readableEnded)) return error;
  await Promise.race([raw.ended, new Promise((resolve) => setTimeout(resolve, LAST_WORDS_MS).unref())]);
  const problem = raw.problem();
  return problem === null ? error : new LineError(`${nameOf(config)}: ${problem}`, { cause: error });
}

type Verify = (key: Buffer, done: (isTrusted: boolean) => void) => void;

function verifyBy(
  config: HostConfig,
  onFile: HostsOnFile,
  witness: Witness,
  failWith: (error: unknown) => void,
): Verify {
  let trusted: Buffer | null = null;
  return (key, done) => {
    // ssh exchanges keys again after some amount of data: the host's key must still be the same.
    if (trusted !== null) {
      done(trusted.equals(key));
      return;
    }
    trustHostKey(config, onFile, key, witness).then(
      () => {
        trusted = key;
        done(true);
      },
      (error: unknown) => {
        failWith(error);
        done(false);
      },
    );
  };
}

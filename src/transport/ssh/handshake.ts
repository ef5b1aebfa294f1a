import ssh2, { type CipherAlgorithm, type Client } from 'ssh2';
import { TransportError, describeCause, LineError } from '../../errors.js';
import type { Line } from './channel.js';
import type { HostConfig } from './host-config.js';
import { orderAlgorithms, type HostsOnFile } from './host-key.js';
import type { KeyFiles } from './keys.js';
import { nameOf, type RawLine } from './line.js';
import { prepareLogin, type Login } from './login.js';
import { Patience, type SshSettings } from './settings.js';
import { trustHostKey, type Witness } from './trust.js';

/** What ssh2 speaks under OpenSSH's names. */
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
 * The ciphers to offer, in the configuration's order; null where it has none of its own: ssh2 then puts first what
 * this processor does fast. Throws TransportError where ssh2 speaks none of them.
 */
export function chooseCiphers(config: HostConfig): CipherAlgorithm[] | null {
  if (config.ciphers === null) return null;
  const chosen = config.ciphers.flatMap((name) => SPOKEN.filter((cipher) => cipher === name));
  if (chosen.length > 0) return chosen;
  throw new TransportError(
    `${nameOf(config)}: the built-in ssh speaks none of the configured Ciphers (${config.ciphers.join(',')}): ` +
      'use --rsh ssh',
  );
}

/**
 * Watches that bytes keep coming over a line where the far side answers regular probes. Any byte is a sign of life:
 * on a busy line the answer to a probe may wait behind megabytes. Returns what ends the watch.
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
  // Looks, and not time, are counted: a machine that slept must not think that the others did.
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

/** How long a proxy that broke may take to say why. */
const LAST_WORDS_MS = 1_000;

/** What was read before the first byte went out. */
export interface Prepared {
  readonly onFile: HostsOnFile;
  readonly keys: KeyFiles;
}

/**
 * Speaks ssh over a line: checks the host's key and logs in.
 *
 * @throws TransportError that says why not, and what to do; whatever a prompter throws.
 */
export async function shakeHands(
  raw: RawLine,
  config: HostConfig,
  settings: Pick<SshSettings, 'prompter' | 'remembered'>,
  { onFile, keys }: Prepared,
  notice: (line: string) => void,
): Promise<Line> {
  const ciphers = chooseCiphers(config);
  const handshake = new Handshake(config);
  const patience = new Patience(config.connectTimeoutMs, () => {
    handshake.lose(
      `it answered the connection, but not as an ssh server within ${config.connectTimeoutMs / 1000} s`,
    );
  });
  const prompter = settings.prompter === null ? null : patience.pausedBy(settings.prompter);
  const { client, signal, failWith } = handshake;
  const login = prepareLogin(config, {
    keys,
    prompter,
    remembered: settings.remembered,
    signal,
    fail: failWith,
  });
  handshake.listen(login);
  client.connect({
    sock: raw.stream,
    username: config.user,
    readyTimeout: 0,
    // Its probes go out, but it counts only their answers: watchLiveness judges the line.
    keepaliveInterval: config.keepaliveIntervalMs,
    keepaliveCountMax: Number.MAX_SAFE_INTEGER,
    algorithms: {
      serverHostKey: orderAlgorithms(onFile.entries.length > 0 ? onFile.entries : onFile.withoutPort),
      ...(ciphers === null ? {} : { cipher: ciphers }),
    },
    hostVerifier: verifyBy(config, onFile, { prompter, notice, signal }, failWith),
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

/** An ssh2 client on its way to a login, and the first thing that ends it. */
class Handshake {
  readonly client: Client = new ssh2.Client();
  readonly done: Promise<void>;
  /** Why the line broke, once it did. */
  problem = 'the far side closed it';
  /** What was agreed on; empty before. */
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

  /** Aborted when the login has ended, well or not: questions that are still open have no use then. */
  get signal(): AbortSignal {
    return this.#isOver.signal;
  }

  end(): void {
    this.#isOver.abort();
  }

  fail(text: string, cause?: unknown): void {
    this.failWith(new TransportError(`${nameOf(this.config)}: ${text}`, { cause }));
  }

  /** As `fail`, of a line that may be better another time. */
  lose(text: string, cause?: unknown): void {
    this.failWith(new LineError(`${nameOf(this.config)}: ${text}`, { cause }));
  }

  listen(login: Login): void {
    // Stays for the connection's whole life: an 'error' nobody listens to would end the process.
    this.client.on('error', (error: Error & { level?: string }) => {
      // The login knows of it, and goes on.
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
      'it broke the login off, as too much was tried: name the right key by IdentityFile and IdentitiesOnly in ' +
      '~/.ssh/config'
    );
  }
  if (/no matching/i.test(error.message)) return `${describeOffer(error.message)}; ${OPENSSH}`;
  return `the ssh connection failed: ${error.message}`;
}

const OPENSSH = '"--rsh ssh" goes through OpenSSH\'s own client, which may know them';

/** What a server offers has nothing in common with what ssh2 knows, in ssh2's words. */
function describeOffer(message: string): string {
  if (/key exchange/i.test(message)) {
    return 'it offers only key exchanges that the built-in ssh does not know, such as post-quantum ones';
  }
  return `it offers only algorithms that the built-in ssh does not know (${message})`;
}

/** Where a proxy stands before the host, its own last words are the better reason. */
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
    // Keys are exchanged anew every so many bytes: who may change in between is nobody.
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

import type { CipherAlgorithm } from 'ssh2';
import { TransportError } from '../../errors.js';
import type { HostConfig } from './host-config.js';
import { nameOf } from './socket.js';

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

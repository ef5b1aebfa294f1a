import { hash, webcrypto } from 'node:crypto';

/**
 * The digests by which blocks are compared: both have 32 bytes, and no one can make two blocks with the same digest.
 * BLAKE3 if both sides have it, because it needs less than half of the processor time; it is a native package, which
 * not every platform has.
 */
export type DigestName = 'blake3' | 'sha256';

/** Computes a block's digest. The bytes may be reused once the function has returned. */
export type TakeDigest = (bytes: Buffer) => Uint8Array | Promise<Uint8Array>;

export interface Digest {
  readonly name: DigestName;
  readonly take: TakeDigest;
}

/** Up to this length it is faster to compute SHA-256 at once than on another thread. Bytes. */
const AT_ONCE = 16_384;

let loading: Promise<TakeDigest | null> | undefined;

/** Null: this host does not have it. */
export async function loadDigest(name: DigestName): Promise<TakeDigest | null> {
  if (name === 'sha256') return takeSha256;
  loading ??= import('@napi-rs/blake-hash').then(
    (library) => library.blake3,
    () => null,
  );
  return await loading;
}

/** The digests that this host can compute besides SHA-256, which every lvmsync supports. */
export async function listFastDigests(): Promise<DigestName[]> {
  return (await loadDigest('blake3')) === null ? [] : ['blake3'];
}

/** The faster digest that both sides have. @param blake3 this side's */
export function chooseDigest(blake3: TakeDigest | null, farDigests: readonly string[]): Digest {
  return blake3 !== null && farDigests.includes('blake3')
    ? { name: 'blake3', take: blake3 }
    : { name: 'sha256', take: takeSha256 };
}

function takeSha256(bytes: Buffer): Uint8Array | Promise<Uint8Array> {
  if (bytes.length <= AT_ONCE) return hash('sha256', bytes, 'buffer');
  // On other threads. Web Crypto makes its own copy before it returns. It refuses shared memory, but lent buffers are
  // not shared.
  return webcrypto.subtle.digest('SHA-256', bytes).then((digest) => new Uint8Array(digest));
}

import { hash, webcrypto } from 'node:crypto';

/**
 * What blocks are compared by: both are 32 bytes, and nobody can make two blocks that share one. BLAKE3 where both
 * sides have it, as it takes less than half of the processor time; it comes as a native package, which not every
 * platform has.
 */
export type DigestName = 'blake3' | 'sha256';

/** Takes a block's digest. Needs the bytes no longer once it has returned. */
export type TakeDigest = (bytes: Buffer) => Uint8Array | Promise<Uint8Array>;

export interface Digest {
  readonly name: DigestName;
  readonly take: TakeDigest;
}

/** Up to here SHA-256 is sooner taken than handed to another thread. Bytes. */
const AT_ONCE = 16_384;

let loading: Promise<TakeDigest | null> | undefined;

/** Null where this host lacks it. */
export async function loadDigest(name: DigestName): Promise<TakeDigest | null> {
  if (name === 'sha256') return takeSha256;
  loading ??= import('@napi-rs/blake-hash').then(
    (library) => library.blake3,
    () => null,
  );
  return await loading;
}

/** What this host can tell beside SHA-256, which every lvmsync can. */
export async function listFastDigests(): Promise<DigestName[]> {
  return (await loadDigest('blake3')) === null ? [] : ['blake3'];
}

/** The faster of what both sides have. @param blake3 this side's */
export function chooseDigest(blake3: TakeDigest | null, farDigests: readonly string[]): Digest {
  return blake3 !== null && farDigests.includes('blake3')
    ? { name: 'blake3', take: blake3 }
    : { name: 'sha256', take: takeSha256 };
}

function takeSha256(bytes: Buffer): Uint8Array | Promise<Uint8Array> {
  if (bytes.length <= AT_ONCE) return hash('sha256', bytes, 'buffer');
  // On other threads. Web Crypto takes its own copy before it returns; it refuses shared memory, which lent buffers
  // are not.
  return webcrypto.subtle.digest('SHA-256', bytes).then((digest) => new Uint8Array(digest));
}

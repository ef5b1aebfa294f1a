import { BufferPool } from '../device/aligned-memory.js';
import { FormatError } from '../errors.js';
import { interruptible } from '../host/interruption.js';
import { piecesOf } from '../host/file-pieces.js';
import { openIncomingStream } from '../stream/incoming-stream.js';
import { withFile } from './archive.js';
import { readIndex } from './archive-index.js';
import { scanArchive } from './scan-archive.js';

const MEMORY = 8 * 1024 * 1024;

/**
 * Reads every byte of an archive: each frame's checksum, the digest over all of them, what the compressed blocks give,
 * and whether the index names just the blocks that there are. Throws TruncatedStreamError, FormatError, DeviceError.
 */
export async function checkArchive(path: string, signal: AbortSignal): Promise<void> {
  await withFile(path, async (random) => {
    const source = interruptible(piecesOf(random.file, path), signal);
    const { protocol, header, blocks } = await openIncomingStream(source, new BufferPool(MEMORY).lend, path);
    for await (const item of blocks) if (item.kind === 'data') item.data.release();
    if (protocol === 3 || header === null) return;
    const index = await readIndex(random, header.volumeSize);
    if (index === null) return;
    const found = await scanArchive(random);
    for (let at = 0; at < Math.max(found.count, index.count); at++) {
      const [is, said] = [found.at(at), index.at(at)];
      if (is.offset === said.offset && is.length === said.length && is.position === said.position) continue;
      throw new FormatError(path, said.position, 'index', `its entry ${at} names no block`);
    }
  });
}

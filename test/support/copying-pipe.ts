import { PassThrough, type TransformCallback } from 'node:stream';

/** A pipe that copies what is written to it, as the kernel does: the writer uses its memory again at once. */
export class CopyingPipe extends PassThrough {
  override _transform(piece: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    done(null, Buffer.from(piece));
  }
}

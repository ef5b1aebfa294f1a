import { open } from 'node:fs/promises';
import { FormatError, TruncatedStreamError } from '../errors.js';
import { piecesOf } from '../host/file-pieces.js';
import { ByteReader } from '../stream/byte-reader.js';
import { HEADER } from '../stream/frame-format.js';
import { FrameReader } from '../stream/frame-reader.js';
import { readProtocolLine } from '../stream/incoming-stream.js';
import { parseHeader, type StreamHeader } from '../stream/stream-header.js';

/**
 * Whether a file is the log of an apply to the same target that saved nothing, and so wrote nothing: a crash came
 * before there was a note of it. Throws DeviceError.
 */
export async function isUnused(path: string, { host, names, volumeSize }: StreamHeader): Promise<boolean> {
  const file = await open(path, 'r').catch(() => null);
  if (file === null) return false;
  try {
    const reader = new ByteReader(piecesOf(file, path), path);
    await readProtocolLine(reader, path);
    const frame = await new FrameReader(reader, path).next(noData);
    if (!('payload' in frame) || frame.header.type !== HEADER || !(await reader.atEnd())) return false;
    const found = parseHeader(frame.payload, path, frame.position);
    const isOfTarget = found.host === host && found.names.source === names.source;
    return found.kind === 'undo' && isOfTarget && found.volumeSize === volumeSize;
  } catch (error) {
    if (error instanceof TruncatedStreamError || error instanceof FormatError) return false;
    throw error;
  } finally {
    await file.close();
  }
}

function noData(): Promise<never> {
  return Promise.reject(new FormatError('undo log', 0, 'header', 'a data frame comes first'));
}

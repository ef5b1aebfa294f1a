import type { ByteReader } from '../stream/byte-reader.js';
import { ForeignLineError, readProtocolLine } from '../stream/incoming-stream.js';
import { farChatter } from '../transport/far-chatter.js';

/**
 * Reads the first line of what a lvmsync of another host says. Throws FarSideError where something else printed there,
 * else as `readProtocolLine`.
 */
export async function readFarProtocol(reader: ByteReader, what: string, host: string): Promise<3 | 4> {
  return await readProtocolLine(reader, what).catch((error: unknown) => {
    throw error instanceof ForeignLineError ? farChatter(host, error.line) : error;
  });
}

import { writeFileSync } from 'node:fs';
import type { ChangeSource } from '../../src/changes/change-source.js';
import { pipeTo, sendChanges } from '../../src/send/send-changes.js';
import { FrameWriter } from '../../src/stream/frame-writer.js';
import { collectingSink, pool } from '../support/streams.js';
import { quietSurroundings } from '../support/surroundings.js';

/** What `--stdout` writes of a source, in a file. */
export async function writeStream(path: string, source: ChangeSource): Promise<void> {
  const sink = collectingSink();
  const line = pipeTo(new FrameWriter(sink, { indexed: true }));
  await sendChanges(source, line, { proofs: true }, { ...quietSurroundings(), lend: pool() });
  writeFileSync(path, sink.bytes());
}

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readIndex } from '../../src/archive/archive-index.js';
import { withFile } from '../../src/archive/archive.js';
import { scanArchive } from '../../src/archive/scan-archive.js';
import { FormatError } from '../../src/errors.js';
import { FrameWriter } from '../../src/stream/frame-writer.js';
import { wholeVectors, type WholeVector } from '../stream/vectors/load-vectors.js';
import { Collector, copyStream } from '../support/scenes/feed.js';

const VOLUME = 65_636;
const withIndex = wholeVectors.filter(({ index }) => index !== undefined);
let folder = '';
beforeAll(() => (folder = mkdtempSync(join(tmpdir(), 'lvmsync-index-'))));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

async function blocksOf({ name, bytes }: WholeVector, how: 'index' | 'scan') {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  const table = await withFile(path, (random) =>
    how === 'index' ? readIndex(random, VOLUME) : scanArchive(random),
  );
  return table === null ? null : [...table].map(({ offset, length, position }) => [offset, length, position]);
}

describe('golden vectors of the index', () => {
  test.each(withIndex.filter(({ index }) => index !== 'FORMAT'))('$name ($why)', async (vector) => {
    expect(await blocksOf(vector, 'scan')).toEqual(vector.index);
    const found = await blocksOf(vector, 'index');
    expect(found).toEqual(vector.name === 'indexed-not' ? null : vector.index);
  });

  test.each(withIndex.filter(({ index }) => index === 'FORMAT'))(
    '$name ($why) is refused',
    async (vector) => {
      await expect(blocksOf(vector, 'index')).rejects.toThrow(FormatError);
    },
  );

  test.each(['indexed'])('our writer writes %s byte for byte', async (name) => {
    const vector = wholeVectors.find((each) => each.name === name);
    const sink = new Collector();
    await copyStream(vector?.bytes ?? Buffer.alloc(0), new FrameWriter(sink, { indexed: true }));
    expect(sink.bytes).toBeBytes(vector?.bytes);
  });
});

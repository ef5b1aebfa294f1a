import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openSource } from '../../src/sources/open-source.js';
import { quietSurroundings } from '../support/surroundings.js';
import { makeStore } from '../support/synthetic-store.js';

const CHUNK = 4096;
let folder = '';
const at = (name: string) => join(folder, name);
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-written-source-'));
  const base = Buffer.alloc(8 * CHUNK, 'base ');
  writeFileSync(at('cow'), makeStore({ chunkSectors: CHUNK / 512, exceptions: [{ oldChunk: 2 }], base }));
  for (const name of ['origin', 'later']) writeFileSync(at(name), base);
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

it.each([
  ['the store', 'cow'],
  ['the volume', 'origin'],
  ['the data source', 'later'],
])(
  'files are never called a point-in-time copy if someone writes %s while they are read',
  async (_what, name) => {
    const spec = { kind: 'files', cow: at('cow'), origin: at('origin'), dataSource: at('later') } as const;
    const { watch } = await openSource(quietSurroundings(), spec);
    try {
      expect(await watch.isConsistent()).toBe(true);
      // what a write does, for a clock of any fineness
      utimesSync(at(name), 1, 1);
      expect(await watch.isConsistent()).toBe(false);
    } finally {
      await watch.close();
    }
  },
);

import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openVolumePart } from '../../src/sources/volume-part.js';
import { runWords } from '../support/run-program.js';
import { quietSurroundings } from '../support/surroundings.js';

const SIZE = 3 * 1024 * 1024 + 512;
const LARGER = 4 * 1024 * 1024;

let folder = '';
const at = (name: string) => join(folder, name);
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-part-'));
  writeFileSync(at('source'), Buffer.alloc(SIZE, 'volume '));
  writeFileSync(at('target'), '');
  truncateSync(at('target'), LARGER);
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

const copy = () => runWords(['copy', at('source'), at('target'), '--state-dir', at('state')]);

/** How much of the target is read, and what is said of it. */
async function open() {
  const env = { ...quietSurroundings(), stateDir: at('state') };
  const device = await openVolumePart(at('target'), at('target'), env);
  await device.close();
  return { size: device.size, said: env.notices };
}

describe('a target that is larger than the volume that was copied to it', () => {
  it('is read as that volume, and a message says so', async () => {
    expect((await open()).size).toBe(LARGER);
    expect((await copy()).status).toBe(0);
    const said = `target: ${SIZE} of ${LARGER} bytes are the volume that was copied to it; the zeroes after it`;
    expect(await open()).toEqual({ size: SIZE, said: [expect.stringContaining(said)] });
  });

  it('is read as a whole if anything lies after the volume, or if the target was made larger', async () => {
    await copy();
    const bytes = readFileSync(at('target'));
    bytes[LARGER - 1] = 1;
    writeFileSync(at('target'), bytes);
    expect(await open()).toEqual({ size: LARGER, said: [] });
    bytes[LARGER - 1] = 0;
    writeFileSync(at('target'), bytes);
    expect((await open()).size).toBe(SIZE);
    truncateSync(at('target'), LARGER + 512);
    expect(await open()).toEqual({ size: LARGER + 512, said: [] });
  });

  it('is read as a whole once the volume is as large', async () => {
    await copy();
    truncateSync(at('source'), LARGER);
    await copy();
    expect(await open()).toEqual({ size: LARGER, said: [] });
  });
});

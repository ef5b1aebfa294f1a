import { mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { FormatError, NoSnapshotError } from '../../src/errors.js';
import { inspect } from '../../src/jobs/inspect.js';
import { quietSurroundings } from '../support/surroundings.js';

const env = quietSurroundings();
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-inspect-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** What this process has open by that name. */
function openFiles(name: string): string[] {
  return readdirSync('/proc/self/fd').filter((each) => {
    try {
      return readlinkSync(`/proc/self/fd/${each}`) === name;
    } catch {
      // The listing's own.
      return false;
    }
  });
}

describe('a look', () => {
  it('at a damaged stream reports the damage, and leaves no file open', async () => {
    const name = join(folder, 'damaged');
    writeFileSync(name, Buffer.concat([Buffer.from('lvmsync PROTO[4]\n'), Buffer.alloc(8 << 20, 'x')]));
    const report = await inspect({ kind: 'named', name }, env);
    expect(report).toMatchObject({ type: 'stream', blocks: 0, problem: expect.any(FormatError) as object });
    await vi.waitFor(
      () => {
        expect(openFiles(name)).toEqual([]);
      },
      { timeout: 20_000 },
    );
  });

  it('at something that is not a snapshot finds nothing', async () => {
    const looking = inspect({ kind: 'named', name: '/dev/null' }, env);
    await expect(looking).rejects.toThrow(NoSnapshotError);
    await expect(looking).rejects.toMatchObject({ code: 'SNAPSHOT' });
  });
});

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect } from 'vitest';
import { openTarget } from '../../../src/targets/open-target.js';
import { runWords } from '../run-program.js';
import { quietSurroundings } from '../surroundings.js';
import { archiveBytes, SECTOR, type Write } from './archives.js';

export const SECTORS = 256;

/** What S2 changed, and S3: one of them anew. */
export const TO_S2: readonly Write[] = [8, 64, 128].map((at) => ({ at, count: 8, kind: 'data', fill: 2 }));
export const TO_S3: readonly Write[] = [10, 192].map((at) => ({ at, count: 4, kind: 'data', fill: 3 }));

let folder = '';
/** What the target held in each state. */
export const states = new Map<string, Buffer>();
export const at = (name: string) => join(folder, name);
export const held = () => readFileSync(at('target'));

export async function run(words: readonly string[], input?: Buffer) {
  const { status, said } = await runWords([...words, '--state-dir', at('state')], input);
  return { status, said: said.join('\n') };
}

/** Applies a stream that says which states it leads between. */
export async function bring(base: string | null, result: string, writes: readonly Write[]) {
  const header = { kind: base === null ? 'full' : 'changes', base, result } as const;
  const stream = await archiveBytes(SECTORS * SECTOR, { passes: [writes], indexed: false, header });
  const snapback = base === null ? [] : ['-b', at(`undo/${result}`)];
  return await run(['--apply', '-', at('target'), ...snapback], stream);
}

export const undo = (name: string, ...more: readonly string[]) =>
  run(['--apply', at(`undo/${name}`), at('target'), ...more]);

export async function recorded() {
  const opening = { stateDir: at('state'), what: 'test', sources: [], allowed: null };
  const target = await openTarget(at('target'), opening, quietSurroundings());
  return await target.record.read().finally(() => target.close());
}

/** Nothing is known of the target from now on. */
export const forget = () => {
  rmSync(at('state'), { recursive: true });
};

/** Before each test: a target that went from S1 over S2 to S3, and the two undos. */
export function setUpUndoChain(): void {
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'lvmsync-undo-chain-'));
    mkdirSync(at('undo'));
    writeFileSync(at('target'), Buffer.alloc(SECTORS * SECTOR));
    const copy = [{ at: 0, count: SECTORS, kind: 'data', fill: 1 } as const];
    for (const [base, result, writes] of [
      [null, 'S1', copy],
      ['S1', 'S2', TO_S2],
      ['S2', 'S3', TO_S3],
    ] as const) {
      expect(await bring(base, result, writes)).toMatchObject({ status: 0 });
      states.set(result, held());
    }
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });
}

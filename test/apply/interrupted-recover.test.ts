import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { recoverTarget, settleEarlierApply } from '../../src/apply/recover.js';
import type { WhoWaits } from '../../src/apply/unfinished-apply.js';
import { Applier } from '../../src/engine/applier.js';
import { InterruptedError } from '../../src/errors.js';
import { Journal } from '../../src/journal/journal.js';
import { DEFAULT_POLICY } from '../../src/targets/apply-policy.js';
import { applyBlock, dataBlock, patterned, undoFor } from '../support/blocks.js';
import { MemoryDevice, type Faults } from '../support/memory-device.js';
import { openInMemory } from '../support/open-target.js';
import { pool } from '../support/streams.js';
import { quietSurroundings } from '../support/surroundings.js';

const MIB = 1024 * 1024;
const SIZE = 24 * MIB;
const BASE = patterned(SIZE);
const STILL_HALF = '/dev/t: still half-written; run "lvmsync recover /dev/t" to finish taking it back';
let parent: string;

beforeAll(() => {
  parent = mkdtempSync(join(tmpdir(), 'lvmsync-interrupted-'));
});
afterAll(() => {
  rmSync(parent, { recursive: true });
});

const applied = { ...undoFor(SIZE, 4096), kind: 'changes' as const, base: 'A', result: 'B' };

/** A target whose apply was cut short, with a place in the middle at which it can be gone on with. */
async function halfWritten(faults: Faults) {
  const device = new MemoryDevice(BASE, '/dev/t', faults);
  const target = openInMemory(device, parent);
  await target.record.write({ is: 'applying from', identity: 'A', from: 'A' });
  const journal = await Journal.begin(target.folder, undoFor(SIZE, 4096), null);
  const applier = new Applier(device, { log: journal.log, lendOld: pool() });
  for (let at = 0; at < SIZE; at += MIB) {
    if (at === 4 * MIB) await applier.checkpoint({ token: Buffer.from('here'), changedBytes: at });
    await applyBlock(applier, dataBlock(at, MIB, 1));
  }
  await applier.finish();
  await journal.abandon(true, null, null);
  return { device, target };
}

/** Surroundings that stop the work with a signal when told to. */
function stoppable() {
  const stop = new AbortController();
  const notices: string[] = [];
  const env: WhoWaits = { signal: stop.signal, notice: (line) => notices.push(line) };
  const interrupt = () => {
    stop.abort(new InterruptedError('SIGTERM'));
  };
  return { env, notices, interrupt };
}

describe('a recover that a signal stops', () => {
  it('ends between two writes, says what is left, and the next one finishes the work', async () => {
    const faults: Faults = {};
    const { device, target } = await halfWritten(faults);
    const { env, notices, interrupt } = stoppable();
    let writes = 0;
    faults.beforeWrite = () => {
      if (++writes === 3) interrupt();
    };
    device.calls.length = 0;
    await expect(recoverTarget(target, env)).rejects.toThrow(InterruptedError);
    expect(writes).toBeLessThan(10);
    expect(device.calls.at(-1)).toBe('flush');
    expect(notices).toEqual([STILL_HALF]);
    expect(device.bytes).not.toBeBytes(BASE);
    expect(await recoverTarget(target, quietSurroundings())).toMatchObject({ kind: 'taken back' });
    expect(device.bytes).toBeBytes(BASE);
  });

  it('ends while it still checks what is there, and has written nothing', async () => {
    const { device, target } = await halfWritten({});
    const { env, notices, interrupt } = stoppable();
    device.calls.length = 0;
    const recovering = recoverTarget(target, env);
    while (!device.calls.some((call) => call.startsWith('read'))) await new Promise(setImmediate);
    interrupt();
    await expect(recovering).rejects.toThrow(InterruptedError);
    expect(device.calls.filter((call) => call.startsWith('write'))).toEqual([]);
    expect(notices).toEqual([STILL_HALF]);
  });

  it('within a run that continues the apply does so too, and the run after it continues from the same place', async () => {
    const faults: Faults = {};
    const { device, target } = await halfWritten(faults);
    const { env, notices, interrupt } = stoppable();
    const sameAgain = { header: applied, policy: DEFAULT_POLICY, canContinue: true };
    faults.beforeWrite = interrupt;
    const settling = settleEarlierApply(target, sameAgain, env);
    await expect(settling).rejects.toThrow(InterruptedError);
    expect(notices).toEqual([STILL_HALF]);
    delete faults.beforeWrite;
    const settled = await settleEarlierApply(target, sameAgain, quietSurroundings());
    if (settled.kind !== 'resumable') throw new Error(settled.kind);
    await settled.apply.journal.log.close();
    expect(settled.apply.point.changedBytes).toBe(4 * MIB);
    expect(device.bytes.subarray(4 * MIB)).toBeBytes(BASE.subarray(4 * MIB));
    expect(device.bytes[0]).toBe(1);
    expect(await recoverTarget(target, quietSurroundings())).toMatchObject({ kind: 'taken back' });
    expect(device.bytes).toBeBytes(BASE);
  });
});

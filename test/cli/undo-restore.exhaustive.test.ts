import { copyFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { archiveBytes, SECTOR } from '../support/scenes/archives.js';
import {
  SECTORS,
  TO_S2,
  states,
  at,
  held,
  run,
  recorded,
  forget,
  setUpUndoChain,
} from '../support/scenes/undo-scene.js';

setUpUndoChain();

describe('a view', () => {
  const store = (name: string) =>
    run(['view', 'store', at('store'), at(`undo/${name}`), '--target', at('target')]);

  it('is not made from an undo that starts from another state', async () => {
    expect(await store('S2')).toEqual({
      status: 7,
      said: expect.stringMatching(/holds exactly S3, but the undo starts from S2/) as string,
    });
    expect(await store('S3')).toMatchObject({ status: 0 });
  });

  it('of a target without a record is made only if everything is proved', async () => {
    forget();
    const bytes = held();
    bytes[195 * SECTOR] = 0x77;
    copyFileSync(at('target'), at('kept'));
    writeFileSync(at('target'), bytes);
    expect(await store('S3')).toMatchObject({ status: 7 });
    copyFileSync(at('kept'), at('target'));
    expect(await store('S3')).toEqual({
      status: 0,
      said: expect.stringMatching(/all parts that the archives replace were compared/) as string,
    });
  });
});

describe('a restore', () => {
  const restore = () => run(['restore', at('target'), '--to', 'S1', '--from', at('undo')]);

  it('through several undos is proved as a whole if nothing is recorded', async () => {
    forget();
    expect(await restore()).toMatchObject({ status: 0 });
    expect(held()).toBeBytes(states.get('S1'));
    expect((await recorded()).holds).toMatchObject({ is: 'exactly', identity: 'S1', believed: /./ });
  });

  it.each([
    ['of the first undo', 11],
    ['of the second', 65],
    ['of the second, beside what the first has', 8],
  ])('is refused where a block %s holds other bytes', async (_name, sector) => {
    forget();
    const bytes = held();
    bytes[sector * SECTOR] = 0x77;
    writeFileSync(at('target'), bytes);
    expect(await restore()).toMatchObject({ status: 7 });
    expect(held()).toBeBytes(bytes);
  });

  it('that is refused after it took a killed apply back does not say that nothing was written', async () => {
    const held3 = held();
    // the later passes go back, so that the first is written by then
    const back = [{ at: 0, count: 8, kind: 'data', fill: 4 }] as const;
    const passes = [TO_S2, back, back];
    const header = { kind: 'changes', base: 'S3', result: 'S4' } as const;
    const stream = await archiveBytes(SECTORS * SECTOR, { passes, indexed: false, header });
    const cut = await run(['--apply', '-', at('target')], stream.subarray(0, stream.length - 1000));
    expect(cut).toEqual({ status: 5, said: expect.stringMatching(/half-written/) as string });
    expect(held()).not.toBeBytes(held3);
    // as if it had been killed, and someone wrote elsewhere since
    const [folder = ''] = readdirSync(at('state/targets'));
    const note = at(`state/targets/${folder}/apply.json`);
    const noted = JSON.parse(readFileSync(note, 'utf8')) as Record<string, unknown>;
    delete noted['stamp'];
    writeFileSync(note, JSON.stringify(noted));
    const bytes = held();
    bytes[195 * SECTOR] = 0x77;
    writeFileSync(at('target'), bytes);
    const { status, said } = await restore();
    expect(status).toBe(7);
    expect(said).toMatch(/taken back to what it held before \(\d+ bytes\)/);
    expect(said).toMatch(/does not hold the base of the undo .*; nothing else was written/);
    held3[195 * SECTOR] = 0x77;
    expect(held()).toBeBytes(held3);
  });

  it('that was killed without a journal can be done again, and no other restore can', async () => {
    const [folder = ''] = readdirSync(at('state/targets'));
    const path = at(`state/targets/${folder}/state.json`);
    const noted = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
    writeFileSync(path, JSON.stringify({ ...noted, is: 'applying from', from: 'S3', to: 'S1' }));
    // as it was killed after its first block
    const half = held();
    states.get('S1')?.copy(half, 8 * SECTOR, 8 * SECTOR, 16 * SECTOR);
    writeFileSync(at('target'), half);
    expect(await run(['restore', at('target'), '--to', 'S2', '--from', at('undo')])).toEqual({
      status: 7,
      said: expect.stringMatching(
        /holds part of an apply to S3 that was interrupted, so repeat that one first: this undo starts/,
      ) as string,
    });
    expect(held()).toBeBytes(half);
    expect(await restore()).toMatchObject({ status: 0 });
    expect(held()).toBeBytes(states.get('S1'));
    expect((await recorded()).holds).toMatchObject({ is: 'exactly', identity: 'S1', believed: /./ });
  });

  it('from a recorded state needs no proof', async () => {
    expect(await restore()).toMatchObject({ status: 0 });
    expect((await recorded()).holds).toEqual({ is: 'exactly', identity: 'S1', from: null });
  });
});

import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { openTarget } from '../../src/targets/open-target.js';
import { runWords } from '../support/run-program.js';
import { archiveBytes, SECTOR, type Write } from '../support/scenes/archives.js';
import {
  SECTORS,
  TO_S3,
  states,
  at,
  held,
  run,
  bring,
  undo,
  recorded,
  forget,
  setUpUndoChain,
} from '../support/scenes/undo-scene.js';
import { quietSurroundings } from '../support/surroundings.js';

setUpUndoChain();

describe('an undo', () => {
  it('is refused by a target that is recorded in another state, and leaves it as it was', async () => {
    expect(await undo('S2')).toEqual({
      status: 7,
      said: expect.stringMatching(
        /holds exactly S3, but the undo starts from S2; nothing was written/,
      ) as string,
    });
    expect(held()).toBeBytes(states.get('S3'));
    expect((await recorded()).holds).toMatchObject({ is: 'exactly', identity: 'S3' });
  });

  it('takes its own base back; after that, no other undo of that base and no stream that starts from it fits', async () => {
    expect(await undo('S3')).toMatchObject({ status: 0 });
    expect(held()).toBeBytes(states.get('S2'));
    expect(await recorded()).toMatchObject({ holds: { is: 'exactly', identity: 'S2', from: null } });
    // what leads on from S3 lacks what came between
    expect(await bring('S3', 'S4', [{ at: 200, count: 8, kind: 'data', fill: 4 }])).toEqual({
      status: 7,
      said: expect.stringMatching(/holds exactly S2, but the stream starts from S3/) as string,
    });
    expect(held()).toBeBytes(states.get('S2'));
  });

  it('is refused after a combination of it and another was applied', async () => {
    expect((await runWords(['combine', '-o', at('both'), at('undo/S3'), at('undo/S2')])).status).toBe(0);
    expect(await run(['--apply', at('both'), at('target')])).toMatchObject({ status: 0 });
    expect(held()).toBeBytes(states.get('S1'));
    expect((await recorded()).holds).toEqual({ is: 'exactly', identity: 'S1', from: null });
    expect(await undo('S3')).toEqual({
      status: 7,
      said: expect.stringMatching(/holds exactly S1, but the undo starts from S3/) as string,
    });
    expect(held()).toBeBytes(states.get('S1'));
  });

  it('that withdrew the name in its header is not taken for what is there already', async () => {
    const header = { kind: 'undo', base: 'S4', result: 'S3' } as const;
    const passes = [[{ at: 8, count: 8, kind: 'data', fill: 9 }]] as const;
    writeFileSync(
      at('undo/S4'),
      await archiveBytes(SECTORS * SECTOR, { passes, indexed: true, header }, true),
    );
    const refused = {
      status: 7,
      said: expect.stringMatching(/holds exactly S3, but the undo starts from S4/) as string,
    };
    expect(await undo('S4')).toEqual(refused);
    // the end of which nobody knows yet
    expect(await run(['--apply', '-', at('target')], readFileSync(at('undo/S4')))).toEqual(refused);
    expect(held()).toBeBytes(states.get('S3'));
  });

  it('may be applied a second time', async () => {
    for (let time = 0; time < 2; time++) expect(await undo('S3')).toMatchObject({ status: 0 });
    const again = await run(['--apply', '-', at('target')], readFileSync(at('undo/S3')));
    expect(again).toMatchObject({
      status: 7,
      said: expect.stringContaining('nothing was written') as string,
    });
    expect(held()).toBeBytes(states.get('S2'));
    expect((await recorded()).holds).toEqual({ is: 'exactly', identity: 'S2', from: null });
  });
});

describe('an undo that leads back from a state without a name', () => {
  /** Applies what was changed since S3 of a volume in use: each time more of the same table. */
  async function bringLive(name: string, writes: readonly Write[], entries: number) {
    const table = { id: 'S3', entries };
    const header = { kind: 'changes', base: 'S3', result: null, table } as const;
    const stream = await archiveBytes(SECTORS * SECTOR, { passes: [writes], indexed: false, header });
    const kept = name === '' ? [] : ['-b', at(`undo/${name}`)];
    return await run(['--apply', '-', at('target'), ...kept], stream);
  }
  const FIRST = [{ at: 32, count: 8, kind: 'data', fill: 4 }] as const;
  /** Disjoint from that, so that nothing of what the first one's undo overwrites tells of it. */
  const SECOND = [{ at: 96, count: 8, kind: 'data', fill: 5 }] as const;
  const refused = {
    status: 7,
    said: expect.stringMatching(
      /holds S3 with later changes, but the undo starts from a state without a name, which may not be this one; nothing was written/,
    ) as string,
  };

  it('belongs to that state alone: it is refused after another transfer, with an undo or without', async () => {
    expect(await bringLive('first', FIRST, 8)).toMatchObject({ status: 0 });
    expect((await recorded()).holds).toMatchObject({
      is: 'since',
      mark: expect.stringMatching(/^[0-9a-f]{32}$/) as string,
    });
    expect(await bringLive('second', SECOND, 16)).toMatchObject({ status: 0 });
    const now = held();
    expect(await undo('first')).toEqual(refused);
    expect(
      await run(['view', 'store', at('store'), at('undo/first'), '--target', at('target')]),
    ).toMatchObject({ status: 7 });
    expect(await bringLive('', SECOND, 16)).toMatchObject({ status: 0 });
    expect(await undo('first')).toEqual(refused);
    expect(await undo('second')).toEqual(refused);
    expect(held()).toBeBytes(now);
  });

  it('is applied there, also from a pipe, and leads to what it says', async () => {
    await bringLive('first', FIRST, 8);
    expect(await run(['--apply', '-', at('target')], readFileSync(at('undo/first')))).toMatchObject({
      status: 0,
    });
    expect(held()).toBeBytes(states.get('S3'));
    expect((await recorded()).holds).toEqual({ is: 'exactly', identity: 'S3', from: null });
  });

  it('can be combined with those after it', async () => {
    await bringLive('first', FIRST, 8);
    expect((await runWords(['combine', '-o', at('both'), at('undo/first'), at('undo/S3')])).status).toBe(0);
    expect(await run(['--apply', at('both'), at('target')])).toMatchObject({ status: 0 });
    expect((await recorded()).holds).toEqual({ is: 'exactly', identity: 'S2', from: null });
  });

  it('is not accepted by its mark if the one after it is missing', async () => {
    await bringLive('first', FIRST, 8);
    await bringLive('second', SECOND, 16);
    await bringLive('third', FIRST, 24);
    expect((await runWords(['combine', '-o', at('gap'), at('undo/third'), at('undo/first')])).status).toBe(0);
    const now = held();
    expect(await run(['--apply', at('gap'), at('target')])).toMatchObject({ status: 7 });
    expect(held()).toBeBytes(now);
  });

  it('is not accepted without a mark, for example if the source made it', async () => {
    await bringLive('first', FIRST, 8);
    const header = { kind: 'undo', base: null, result: 'S3' } as const;
    writeFileSync(
      at('undo/first'),
      await archiveBytes(SECTORS * SECTOR, { passes: [FIRST], indexed: true, header }),
    );
    expect(await undo('first')).toEqual(refused);
  });

  it('is proved if the record is gone', async () => {
    await bringLive('first', FIRST, 8);
    forget();
    expect(await undo('first')).toMatchObject({ status: 0 });
    expect(held()).toBeBytes(states.get('S3'));
    expect((await recorded()).holds).toMatchObject({
      identity: 'S3',
      believed: expect.any(String) as string,
    });
  });
});

describe('if nothing is recorded, an undo', () => {
  it('is proved, and what it leads to is believed', async () => {
    forget();
    expect(await undo('S3')).toMatchObject({ status: 0 });
    expect(held()).toBeBytes(states.get('S2'));
    expect((await recorded()).holds).toMatchObject({
      ...{ is: 'exactly', identity: 'S2' },
      believed: 'nothing was known of the target before',
    });
    // and so is what the next one leads to
    expect(await undo('S2')).toMatchObject({ status: 0 });
    expect(held()).toBeBytes(states.get('S1'));
    expect((await recorded()).holds).toMatchObject({ is: 'exactly', identity: 'S1', believed: /./ });
    // a name that is no more than believed refuses all the same
    expect(await undo('S3')).toMatchObject({ status: 7 });
  });

  it.each([0, 1])(
    'is refused where one byte of its extent %d differs, before the first write',
    async (which) => {
      forget();
      const bytes = held();
      bytes[((TO_S3[which]?.at ?? 0) + 4) * SECTOR - 1] = 0x77;
      writeFileSync(at('target'), bytes);
      expect(await undo('S3')).toEqual({
        status: 7,
        said: expect.stringMatching(
          /does not hold the base of the undo \(byte \d+\); nothing was written/,
        ) as string,
      });
      expect(held()).toBeBytes(bytes);
      expect(await undo('S3', '--force', 'base')).toMatchObject({ status: 0 });
    },
  );

  it('combined from several that wrote in different places is proved as each of them is', async () => {
    expect(await bring('S3', 'S4', [{ at: 200, count: 8, kind: 'data', fill: 4 }])).toMatchObject({
      status: 0,
    });
    expect((await runWords(['combine', '-o', at('both'), at('undo/S4'), at('undo/S3')])).status).toBe(0);
    const now = held();
    for (const sector of [203, 194]) {
      forget();
      const bytes = Buffer.from(now);
      bytes[sector * SECTOR] = 0x77;
      writeFileSync(at('target'), bytes);
      expect(await run(['--apply', at('both'), at('target')])).toEqual({
        status: 7,
        said: expect.stringMatching(/does not hold the base of the undo/) as string,
      });
    }
    writeFileSync(at('target'), now);
    expect(await run(['--apply', at('both'), at('target')])).toMatchObject({ status: 0 });
    expect(held()).toBeBytes(states.get('S2'));
  });

  it('is proved even on a state that is believed to be its base', async () => {
    const bytes = held();
    bytes[11 * SECTOR] = 0x77;
    writeFileSync(at('target'), bytes);
    const opening = { stateDir: at('state'), what: 'test', sources: [], allowed: null };
    const target = await openTarget(at('target'), opening, quietSurroundings());
    await target.record.write({ is: 'exactly', identity: 'S3', from: 'S2', believed: 'another boot' });
    await target.close();
    expect(await undo('S3')).toEqual({
      status: 7,
      said: expect.stringMatching(/does not hold the base of the undo/) as string,
    });
    expect(held()).toBeBytes(bytes);
  });

  it('is refused from a pipe, which can be read only once', async () => {
    forget();
    const refused = await run(['--apply', '-', at('target')], readFileSync(at('undo/S3')));
    expect(refused).toEqual({
      status: 7,
      said: expect.stringMatching(/an undo from a pipe .*apply it from a file/) as string,
    });
    expect(held()).toBeBytes(states.get('S3'));
  });

  it('that says nothing of its base is refused', async () => {
    forget();
    const header = { kind: 'undo', base: 'S3', result: 'S2' } as const;
    writeFileSync(
      at('undo/S3'),
      await archiveBytes(SECTORS * SECTOR, { passes: [TO_S3], indexed: true, header }),
    );
    expect(await undo('S3')).toEqual({
      status: 7,
      said: expect.stringMatching(/nothing proves that it holds the base of the undo/) as string,
    });
  });
});

import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openTarget } from '../../src/target/open-target.js';
import { archiveBytes, SECTOR, type Write } from '../snapback/archives.js';
import { runWords } from '../support/run-program.js';
import { quietSurroundings } from '../support/surroundings.js';

const SECTORS = 256;

/** What S2 changed, and S3: one of them anew. */
const TO_S2: readonly Write[] = [8, 64, 128].map((at) => ({ at, count: 8, kind: 'data', fill: 2 }));
const TO_S3: readonly Write[] = [10, 192].map((at) => ({ at, count: 4, kind: 'data', fill: 3 }));

let folder = '';
/** What the target held in each state. */
const states = new Map<string, Buffer>();
const at = (name: string) => join(folder, name);
const held = () => readFileSync(at('target'));

async function run(words: readonly string[], input?: Buffer) {
  const { status, said } = await runWords([...words, '--state-dir', at('state')], input);
  return { status, said: said.join('\n') };
}

/** Applies a stream that says which states it leads between. */
async function bring(base: string | null, result: string, writes: readonly Write[]) {
  const header = { kind: base === null ? 'full' : 'changes', base, result } as const;
  const stream = await archiveBytes(SECTORS * SECTOR, { passes: [writes], indexed: false, header });
  const snapback = base === null ? [] : ['-b', at(`undo/${result}`)];
  return await run(['--apply', '-', at('target'), ...snapback], stream);
}

const undo = (name: string, ...more: readonly string[]) =>
  run(['--apply', at(`undo/${name}`), at('target'), ...more]);

async function recorded() {
  const opening = { stateDir: at('state'), what: 'test', sources: [], allowed: null };
  const target = await openTarget(at('target'), opening, quietSurroundings());
  return await target.record.read().finally(() => target.close());
}

/** Nothing is known of the target from now on. */
const forget = () => {
  rmSync(at('state'), { recursive: true });
};

/** A target that went from S1 over S2 to S3, and the two undos. */
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

describe('an undo', () => {
  it('is refused by a target that is recorded in another state, and leaves it as it was', async () => {
    expect(await undo('S2')).toEqual({
      status: 7,
      said: expect.stringMatching(
        /holds exactly S3, while the undo starts from S2; nothing was written/,
      ) as string,
    });
    expect(held().equals(states.get('S3') ?? Buffer.alloc(0))).toBe(true);
    expect((await recorded()).holds).toMatchObject({ is: 'exactly', identity: 'S3' });
  });

  it('takes its own base back, after which no other undo of that base, and no stream onward from it, fits', async () => {
    expect(await undo('S3')).toMatchObject({ status: 0 });
    expect(held().equals(states.get('S2') ?? Buffer.alloc(0))).toBe(true);
    expect(await recorded()).toMatchObject({ holds: { is: 'exactly', identity: 'S2', from: null } });
    // what leads on from S3 lacks what came between
    expect(await bring('S3', 'S4', [{ at: 200, count: 8, kind: 'data', fill: 4 }])).toEqual({
      status: 7,
      said: expect.stringMatching(/holds exactly S2, while the stream starts from S3/) as string,
    });
    expect(held().equals(states.get('S2') ?? Buffer.alloc(0))).toBe(true);
  });

  it('is refused after one that was combined of it and another was applied', async () => {
    expect((await runWords(['combine', '-o', at('both'), at('undo/S3'), at('undo/S2')])).status).toBe(0);
    expect(await run(['--apply', at('both'), at('target')])).toMatchObject({ status: 0 });
    expect(held().equals(states.get('S1') ?? Buffer.alloc(0))).toBe(true);
    expect((await recorded()).holds).toEqual({ is: 'exactly', identity: 'S1', from: null });
    expect(await undo('S3')).toEqual({
      status: 7,
      said: expect.stringMatching(/holds exactly S1, while the undo starts from S3/) as string,
    });
    expect(held().equals(states.get('S1') ?? Buffer.alloc(0))).toBe(true);
  });

  it('that took back the name in its header is not taken for what is there already', async () => {
    const header = { kind: 'undo', base: 'S4', result: 'S3' } as const;
    const passes = [[{ at: 8, count: 8, kind: 'data', fill: 9 }]] as const;
    writeFileSync(
      at('undo/S4'),
      await archiveBytes(SECTORS * SECTOR, { passes, indexed: true, header }, true),
    );
    expect(await undo('S4')).toEqual({
      status: 7,
      said: expect.stringMatching(/holds exactly S3, while the undo starts from S4/) as string,
    });
    expect(held().equals(states.get('S3') ?? Buffer.alloc(0))).toBe(true);
  });

  it('may be applied a second time', async () => {
    for (let time = 0; time < 2; time++) expect(await undo('S3')).toMatchObject({ status: 0 });
    expect(held().equals(states.get('S2') ?? Buffer.alloc(0))).toBe(true);
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
      /holds since S3, while the undo starts from a state without a name, which is not shown to be this one; nothing was written/,
    ) as string,
  };

  it('is of that one alone: another transfer came between, with an undo or without', async () => {
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
    expect(held().equals(now)).toBe(true);
  });

  it('is applied there, also from a pipe, and leads to what it says', async () => {
    await bringLive('first', FIRST, 8);
    expect(await run(['--apply', '-', at('target')], readFileSync(at('undo/first')))).toMatchObject({
      status: 0,
    });
    expect(held().equals(states.get('S3') ?? Buffer.alloc(0))).toBe(true);
    expect((await recorded()).holds).toEqual({ is: 'exactly', identity: 'S3', from: null });
  });

  it('is kept together with those behind it', async () => {
    await bringLive('first', FIRST, 8);
    expect((await runWords(['combine', '-o', at('both'), at('undo/first'), at('undo/S3')])).status).toBe(0);
    expect(await run(['--apply', at('both'), at('target')])).toMatchObject({ status: 0 });
    expect((await recorded()).holds).toEqual({ is: 'exactly', identity: 'S2', from: null });
  });

  it('that has no mark, as one that was made at the source, is not', async () => {
    await bringLive('first', FIRST, 8);
    const header = { kind: 'undo', base: null, result: 'S3' } as const;
    writeFileSync(
      at('undo/first'),
      await archiveBytes(SECTORS * SECTOR, { passes: [FIRST], indexed: true, header }),
    );
    expect(await undo('first')).toEqual(refused);
  });

  it('is proved where the record is gone', async () => {
    await bringLive('first', FIRST, 8);
    forget();
    expect(await undo('first')).toMatchObject({ status: 0 });
    expect(held().equals(states.get('S3') ?? Buffer.alloc(0))).toBe(true);
    expect((await recorded()).holds).toMatchObject({
      identity: 'S3',
      believed: expect.any(String) as string,
    });
  });
});

describe('where nothing is recorded, an undo', () => {
  it('is proved, and what it leads to is believed', async () => {
    forget();
    expect(await undo('S3')).toMatchObject({ status: 0 });
    expect(held().equals(states.get('S2') ?? Buffer.alloc(0))).toBe(true);
    expect((await recorded()).holds).toMatchObject({
      ...{ is: 'exactly', identity: 'S2' },
      believed: 'nothing was known of the target before',
    });
    // and so is what the next one leads to
    expect(await undo('S2')).toMatchObject({ status: 0 });
    expect(held().equals(states.get('S1') ?? Buffer.alloc(0))).toBe(true);
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
          /does not hold what the undo starts from \(byte \d+\); nothing was written/,
        ) as string,
      });
      expect(held().equals(bytes)).toBe(true);
      expect(await undo('S3', '--force', 'base')).toMatchObject({ status: 0 });
    },
  );

  it('of several that wrote in different places is proved as each of them is', async () => {
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
        said: expect.stringMatching(/does not hold what the undo starts from/) as string,
      });
    }
    writeFileSync(at('target'), now);
    expect(await run(['--apply', at('both'), at('target')])).toMatchObject({ status: 0 });
    expect(held().equals(states.get('S2') ?? Buffer.alloc(0))).toBe(true);
  });

  it('is proved also on a state that is believed to be its base', async () => {
    const bytes = held();
    bytes[11 * SECTOR] = 0x77;
    writeFileSync(at('target'), bytes);
    const opening = { stateDir: at('state'), what: 'test', sources: [], allowed: null };
    const target = await openTarget(at('target'), opening, quietSurroundings());
    await target.record.write({ is: 'exactly', identity: 'S3', from: 'S2', believed: 'another boot' });
    await target.close();
    expect(await undo('S3')).toEqual({
      status: 7,
      said: expect.stringMatching(/does not hold what the undo starts from/) as string,
    });
    expect(held().equals(bytes)).toBe(true);
  });

  it('is refused from a pipe, which can be read once only', async () => {
    forget();
    const refused = await run(['--apply', '-', at('target')], readFileSync(at('undo/S3')));
    expect(refused).toEqual({
      status: 7,
      said: expect.stringMatching(/an undo that comes from a pipe .*apply it from a file/) as string,
    });
    expect(held().equals(states.get('S3') ?? Buffer.alloc(0))).toBe(true);
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
      said: expect.stringMatching(/nothing proves that it holds what the undo starts from/) as string,
    });
  });
});

describe('a view', () => {
  const store = (name: string) =>
    run(['view', 'store', at('store'), at(`undo/${name}`), '--target', at('target')]);

  it('is not made of an undo that starts from another state', async () => {
    expect(await store('S2')).toEqual({
      status: 7,
      said: expect.stringMatching(/holds exactly S3, while the undo starts from S2/) as string,
    });
    expect(await store('S3')).toMatchObject({ status: 0 });
  });

  it('of a target of which nothing is recorded is made where all is proved, and only there', async () => {
    forget();
    const bytes = held();
    bytes[195 * SECTOR] = 0x77;
    copyFileSync(at('target'), at('kept'));
    writeFileSync(at('target'), bytes);
    expect(await store('S3')).toMatchObject({ status: 7 });
    copyFileSync(at('kept'), at('target'));
    expect(await store('S3')).toEqual({
      status: 0,
      said: expect.stringMatching(/all that the archives replace was compared/) as string,
    });
  });
});

describe('a restore', () => {
  const restore = () => run(['restore', at('target'), '--to', 'S1', '--from', at('undo')]);

  it('through several undos is proved as a whole where nothing is recorded', async () => {
    forget();
    expect(await restore()).toMatchObject({ status: 0 });
    expect(held().equals(states.get('S1') ?? Buffer.alloc(0))).toBe(true);
    expect((await recorded()).holds).toMatchObject({ is: 'exactly', identity: 'S1', believed: /./ });
  });

  it.each([
    ['of the first undo', 11],
    ['of the second', 65],
    ['of the second, beside what the first has', 8],
  ])('is refused where a block %s is another one', async (_name, sector) => {
    forget();
    const bytes = held();
    bytes[sector * SECTOR] = 0x77;
    writeFileSync(at('target'), bytes);
    expect(await restore()).toMatchObject({ status: 7 });
    expect(held().equals(bytes)).toBe(true);
  });

  it('that is refused once it took a killed apply back does not say that nothing was written', async () => {
    const held3 = held();
    // the later passes go back, so that the first is written by then
    const back = [{ at: 0, count: 8, kind: 'data', fill: 4 }] as const;
    const passes = [TO_S2, back, back];
    const header = { kind: 'changes', base: 'S3', result: 'S4' } as const;
    const stream = await archiveBytes(SECTORS * SECTOR, { passes, indexed: false, header });
    const cut = await run(['--apply', '-', at('target')], stream.subarray(0, stream.length - 1000));
    expect(cut).toEqual({ status: 5, said: expect.stringMatching(/half-written/) as string });
    expect(held().equals(held3)).toBe(false);
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
    expect(said).toMatch(/does not hold what the undo starts from .*; nothing else was written/);
    held3[195 * SECTOR] = 0x77;
    expect(held().equals(held3)).toBe(true);
  });

  it('of what is recorded needs no proof', async () => {
    expect(await restore()).toMatchObject({ status: 0 });
    expect((await recorded()).holds).toEqual({ is: 'exactly', identity: 'S1', from: null });
  });
});

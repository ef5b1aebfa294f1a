import fc from 'fast-check';
import { expect } from 'vitest';
import { DEFAULT_POLICY, type ApplyPolicy } from '../../src/targets/apply-policy.js';
import type { KnownState } from '../../src/targets/state-record.js';
import { isDone, type Model, type Ran, type StateDir } from './model.js';
import type { Fault } from './mortal-files.js';
import type { Intent } from './outcome.js';
import {
  nameOf,
  SIZE,
  snapshotSource,
  stoppedName,
  UNIT,
  UNITS,
  type SendGoal,
  type SourceVolume,
  type UnitWrite,
} from './volume.js';
import type { World } from './world.js';

/** One thing that happens, in words, and what it does to both. */
export type Step = fc.AsyncCommand<Model, World>;

export const unitWrite: fc.Arbitrary<UnitWrite> = fc.tuple(fc.nat(UNITS - 1), fc.nat(7));
/** Few places are written again and again, so that what came also goes. */
export const unitWrites = fc.oneof(
  fc.array(fc.tuple(fc.nat(7), fc.nat(5)), { minLength: 1, maxLength: 4 }),
  fc.array(unitWrite, { minLength: 1, maxLength: 8 }),
);
export const stateDir: fc.Arbitrary<StateDir> = fc.oneof(
  { weight: 4, arbitrary: fc.constant('one' as const) },
  { weight: 1, arbitrary: fc.constant('two' as const) },
);
/** Most runs meet none. */
export const fault: fc.Arbitrary<Fault | null> = fc.oneof(
  { weight: 3, arbitrary: fc.constant(null) },
  fc.record({
    kind: fc.constantFrom(
      'kill' as const,
      'kill' as const,
      'tear' as const,
      'term' as const,
      'full' as const,
    ),
    step: fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 8, max: 40 })),
  }),
);
/** Most transfers look only at what changed. */
export const audit: fc.Arbitrary<number | null> = fc.oneof(
  { weight: 3, arbitrary: fc.constant(null) },
  fc.constantFrom(25, 50, 50, 100),
);
export const rarely = fc.nat(9).map((number) => number === 0);

/** Which state has a name; -1 where none has it. */
export function stateNamed({ states }: SourceVolume, name: string | null): number {
  return states.findIndex((_, index) => [nameOf(index), stoppedName(index)].includes(name ?? ''));
}

/**
 * Where a snapshot's state was known to be there, a run that does not refuse brings all of what it names: also where
 * it started from another one. And a half-copied target takes no changes.
 */
export function expectKnown(
  model: Model,
  { holds }: KnownState,
  ran: Ran,
  isPending: boolean,
  images: readonly Buffer[],
): void {
  if (ran.status !== 0 || isPending || holds === null) return;
  expect(holds.is, 'what is half-copied takes no changes').not.toBe('copying');
  const isSure = holds.is === 'exactly' && holds.believed === undefined;
  // What a stopped volume held may be what a snapshot of it froze: the contents decide, as far as they are compared.
  if (!isSure || !holds.identity.startsWith('S') || images.length > 1) return;
  const what = `from exactly ${holds.identity} to what it should be: ${ran.said}`;
  expect(model.held.subarray(0, SIZE), what).toBeBytes(images[0]);
  model.count('from a known state');
}

/** What a run met: `foreign bytes` where no change explains them. */
type Met = 'what was recorded' | 'foreign bytes' | 'unknown';

function whatWasMet(
  { source, names }: Model,
  { holds }: KnownState,
  met: Buffer,
  { units, images, from }: Pick<Intent, 'units' | 'images'> & { readonly from: number },
): Met {
  const before = met.subarray(0, SIZE);
  const unitOf = (image: Buffer | undefined, unit: number) => image?.subarray(unit * UNIT, (unit + 1) * UNIT);
  const differs = (_: unknown, unit: number) =>
    units[unit] !== true && unitOf(images[0], unit)?.equals(unitOf(before, unit) ?? Buffer.alloc(0)) !== true;
  if (units.some(differs)) return 'foreign bytes';
  const isEnd = [source.state(from), images[0]].some((image) => image?.equals(before));
  return isEnd && names.get(holds?.identity ?? '')?.equals(before) === true ? 'what was recorded' : 'unknown';
}

/** The volume goes on. */
export class WriteVolume implements Step {
  constructor(private readonly writes: readonly UnitWrite[]) {}

  check = () => true;

  run(model: Model): Promise<void> {
    model.source.write(this.writes);
    model.nameStates();
    return Promise.resolve();
  }

  toString = () => `write ${this.writes.map(([unit, fill]) => `${unit}=${fill}`).join(' ')}`;
}

export interface SendWish {
  readonly from: number;
  readonly goal: 'latest snapshot' | 'any snapshot' | 'stopped' | 'live';
  readonly to: number;
  readonly writes: readonly UnitWrite[];
  readonly isNamed: boolean;
  readonly dir: StateDir;
  readonly snapback: boolean;
  readonly journal: boolean;
  readonly force: boolean;
  readonly blockSize: number | null;
  readonly isHasty: boolean;
  /** Percent. */
  readonly audit: number | null;
  /** Whether the receiver begins. */
  readonly isPulled: boolean;
  /** Of a pull: after how many bytes the line breaks. */
  readonly cutAfter: number | null;
  readonly fault: Fault | null;
}

export const sendWish: fc.Arbitrary<SendWish> = fc.record({
  from: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.nat(9)),
  goal: fc.constantFrom('latest snapshot', 'latest snapshot', 'any snapshot', 'stopped', 'live'),
  to: fc.nat(9),
  writes: unitWrites,
  isNamed: fc.boolean(),
  dir: stateDir,
  snapback: fc.boolean(),
  journal: rarely.map((isOff) => !isOff),
  force: rarely,
  blockSize: fc.constantFrom(512, 4096, null),
  isHasty: fc.boolean(),
  audit,
  isPulled: fc.nat(3).map((number) => number === 0),
  cutAfter: fc.oneof({ weight: 4, arbitrary: fc.constant(null) }, fc.nat(20_000)),
  fault,
});

/** A transfer of what changed since a snapshot, in a session. */
export class Send implements Step {
  constructor(private readonly wish: SendWish) {}

  check = () => true;

  async run(model: Model, world: World): Promise<void> {
    const { wish } = this;
    const from = this.chooseFrom(model, (await world.record(wish.dir)).holds?.identity ?? null);
    const goal = this.goalOf(model, from);
    const undo = wish.snapback && wish.journal ? world.newPath(world.undos, 'undo') : null;
    const policy: ApplyPolicy = {
      ...DEFAULT_POLICY,
      snapback: undo,
      journal: wish.journal,
      forceBase: wish.force,
    };
    const isPending = model.isPending(wish.dir);
    const known = await world.record(wish.dir);
    // A copy that is killed at its very end leaves what was suspected before: the next run says it once more.
    const isSuspect = await world.isSuspect(wish.dir);
    const before = model.held;
    const source = snapshotSource(model.source, from, goal);
    const { latest } = model.source;
    world.fault = wish.fault;
    const sizes = wish.blockSize === null ? {} : { blockSize: wish.blockSize };
    const how = { proofs: true, audit: wish.audit, ...sizes };
    const ran = wish.isPulled
      ? await world.pull(wish.dir, source, policy, how, wish.isHasty, wish.cutAfter)
      : await world.send(wish.dir, source, policy, how, wish.isHasty);
    model.nameStates();
    const intent = this.intentOf(model, from, goal, latest);
    await model.judge(world, wish.dir, ran, intent);
    if (!wish.force) expectKnown(model, known, ran, isPending, intent.images);
    if (!isSuspect) this.expectDone(model, ran, { isPending, known, from });
    // What speaks against the target is said in each run, until all of it was seen.
    if (ran.status === 0 && !wish.force)
      expect(await world.isSuspect(wish.dir), `nothing speaks against it: ${ran.said}`).toBe(false);
    if (ran.status === 0 && goal.kind !== 'live') {
      const met = isPending ? 'unknown' : whatWasMet(model, known, before, { ...intent, from });
      await this.expectAudited(model, world, ran, intent, met);
    }
    if (isDone(ran) && undo !== null && !isPending)
      model.undos.push({ path: undo, from: model.held, to: before });
  }

  /** As a user would, from what the record names; or from any state. */
  private chooseFrom(model: Model, recorded: string | null): number {
    const named = stateNamed(model.source, recorded);
    return this.wish.from === 0 && named >= 0 ? named : model.source.pick(this.wish.from);
  }

  private goalOf({ source }: Model, from: number): SendGoal {
    const { goal, to, writes, isNamed } = this.wish;
    if (goal === 'live') return { kind: 'live', writes, isNamed };
    const count = source.latest - from;
    if (goal === 'stopped' || count === 0) return { kind: 'stopped' };
    const state = goal === 'latest snapshot' ? source.latest : from + 1 + (to % count);
    return { kind: 'snapshot', state };
  }

  /** Of a live one, what the volume held before, or after others wrote to it. */
  private intentOf({ source }: Model, from: number, goal: SendGoal, latest: number): Intent {
    const images = source.states.slice(goal.kind === 'snapshot' ? goal.state : latest);
    if (goal.kind === 'snapshot') images.splice(1);
    return {
      units: source.changedUnits(from),
      images,
      isForced: this.wish.force,
      isBold: !this.wish.journal,
      audit: this.wish.audit,
    };
  }

  /** Where all of it was compared, or what was compared came around, all of it is there, and nothing speaks against it. */
  private async expectAudited(
    model: Model,
    world: World,
    { said }: Ran,
    { images, isForced = false }: Intent,
    met: Met,
  ): Promise<void> {
    if (
      this.wish.audit === null ||
      /continuing at byte|holds all of it already|nothing was audited/.test(said)
    )
      return;
    const { holds } = await world.record(this.wish.dir);
    const isRound = holds?.proved?.covered === 0 && holds.proved.all !== null;
    if (this.wish.audit < 100 && !isRound) return;
    model.count(this.wish.audit < 100 ? 'audited in a round' : 'audited at once');
    const isThere = images[0]?.equals(model.held.subarray(0, SIZE));
    expect(isThere, `all of it was compared: ${said}`).toBe(true);
    // What someone wrote puts the rest in doubt: the user's word keeps that from the exit status, not from the record.
    if (isForced && met !== 'what was recorded') {
      if (met === 'foreign bytes')
        expect(holds?.believed, `and what someone wrote is not forgotten: ${said}`).toBeDefined();
      return;
    }
    expect(holds?.believed, `and all of it is sure: ${said}`).toBeUndefined();
    expect(await world.isSuspect(this.wish.dir), 'nothing is suspected any more').toBe(false);
  }

  /** Where nothing is in the way, nothing is refused, and what it leads to is known. */
  private expectDone(
    model: Model,
    ran: Ran,
    { isPending, known, from }: { isPending: boolean; known: KnownState; from: number },
  ): void {
    const { holds } = known;
    const isAtBase =
      holds?.is === 'exactly' && holds.believed === undefined && holds.identity === nameOf(from);
    if (!isAtBase || isPending || ran.isFaulty || ran.status === null) return;
    expect(ran.status, `from its base: ${ran.said}`).toBe(0);
    model.count('sent from the recorded base');
  }

  toString(): string {
    const { from, goal, to, dir, fault: met, ...rest } = this.wish;
    const options = Object.entries(rest).filter(([, value]) => value !== false && value !== null);
    const words = options.map(([name, value]) => `${name}=${String(value)}`).join(' ');
    return `send ${from} ${goal} ${to} in ${dir} ${words}${met === null ? '' : ` ${met.kind} at ${met.step}`}`;
  }
}

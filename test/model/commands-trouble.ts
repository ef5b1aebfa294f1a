import fc from 'fast-check';
import { ApplyStream, WriteStream } from './commands-stream.js';
import { archiveSteps } from './commands-archive.js';
import { disturbingSteps } from './commands-disturb.js';
import { Send, sendWish, unitWrites, WriteVolume, type Step } from './commands-send.js';
import { CopySnapshot, wholeSteps } from './commands-whole.js';
import type { Model } from './model.js';
import type { Fault } from './mortal-files.js';
import type { World } from './world.js';

/** Several steps, one after another: what is dangerous together, and would seldom come about by itself. */
class InARow implements Step {
  constructor(private readonly steps: readonly Step[]) {}

  check = () => true;

  async run(model: Model, world: World): Promise<void> {
    for (const step of this.steps) if (step.check(model)) await step.run(model, world);
  }

  toString = () => `(${this.steps.map(String).join('; then ')})`;
}

/** In the middle of what a run writes. */
const cut: fc.Arbitrary<Fault> = fc.record({
  kind: fc.constantFrom('kill', 'tear', 'term', 'term'),
  step: fc.integer({ min: 14, max: 30 }),
});
const send = sendWish.map((wish) => new Send({ ...wish, dir: 'one', force: false }));
const cutSend = fc
  .tuple(sendWish, cut)
  .map(([wish, fault]) => new Send({ ...wish, dir: 'one', journal: true, isHasty: true, fault }));
const cutCopy = fc
  .tuple(fc.nat(5), cut)
  .map(([state, fault]) => new CopySnapshot(state, false, 'one', fault, true));
/** From where the target is, to the latest snapshot. */
const FOLLOWING = { from: 0, goal: 'latest snapshot', dir: 'one', cutAfter: null, fault: null } as const;
const change = unitWrites.map((writes) => new WriteVolume(writes));
const disturbance = fc.oneof(...Object.values(disturbingSteps), wholeSteps.whole, wholeSteps.verify);
const next = fc.oneof(send, archiveSteps.recover, archiveSteps.undo, archiveSteps.restore);

const inARow = (...steps: readonly fc.Arbitrary<Step>[]) =>
  fc.tuple(...steps).map((drawn) => new InARow(drawn));

/** A run is cut short, somebody else does something to the target, and the next run comes. */
export const cutAndDisturbed = inARow(change, cutSend, disturbance, next);

/** A copy is cut short, and changes come. */
export const halfCopied = inARow(change, cutCopy, next);

/**
 * Transfers that audit, one after another, of a target that is in doubt: by the user's word, or as someone wrote.
 */
const auditing = fc
  .tuple(sendWish, fc.constantFrom(25, 50, 50, 100))
  .map(([wish, audit]) => new Send({ ...wish, ...FOLLOWING, force: false, audit }));
const forced = sendWish.map((wish) => new Send({ ...wish, ...FOLLOWING, from: wish.to, force: true }));
const doubt = fc.oneof(forced, disturbance, send);
export const auditedRounds = fc
  .tuple(doubt, fc.array(fc.tuple(change, auditing), { minLength: 2, maxLength: 5 }))
  .map(([first, rounds]) => new InARow([first, ...rounds.flat()]));

/** A stream in a file is applied when the target has more from its base already. */
export const overtaken = fc.tuple(change, change, sendWish, fc.nat(5)).map(([first, second, wish, to]) => {
  const whole = { ...wish, dir: 'one', force: false, goal: 'latest snapshot', fault: null } as const;
  const stream = new ApplyStream(-1, 'one', 'from a file', false, null);
  return new InARow([first, new WriteStream(-1, to), second, new Send({ ...whole, from: 0 }), stream]);
});

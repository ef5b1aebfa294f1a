import { Layers } from '../archive/layers.js';
import { ArchiveProofs } from '../archive/proofs.js';
import type { BlockDevice } from '../device/block-device.js';
import type { Surroundings } from '../host/surroundings.js';
import { holdsProof } from '../targets/base-check.js';
import { openUndo, type States, type Undo } from './states.js';

/**
 * Finds the state that a target is in, by what the undos say about the states that they start from: the latest state
 * for which everything that is said is true. It has to be the latest, because what an undo says is also true for every
 * later state that did not touch those bytes. For the same reason the search in a chain ends at an undo that says
 * nothing. Returns null if no state is found. Reads all the undos that it looks at.
 *
 * Throws what reading archives throws, DeviceError.
 */
export async function findProvedState(
  target: BlockDevice,
  states: States,
  env: Surroundings,
): Promise<string | null> {
  const proof = new StateProof(target, states, env);
  for (const head of states.heads) {
    for (const state of states.waysFrom(head).states) {
      const verdicts = new Set<Verdict>();
      for (const undo of states.undosFrom(state)) {
        verdicts.add(await proof.judge(undo));
      }
      if (verdicts.has('holds')) return state;
      if (verdicts.has('unknown') && !verdicts.has('differs')) break;
    }
  }
  return null;
}

type Verdict = 'holds' | 'differs' | 'unknown';

/** Whether a target is in one of several states, from what the undos say about them. */
class StateProof {
  /** Undos whose bases the target is known not to hold. */
  private readonly differing = new Set<Undo>();

  constructor(
    private readonly target: BlockDevice,
    private readonly states: States,
    private readonly env: Pick<Surroundings, 'signal'>,
  ) {}

  /**
   * Whether the target holds everything that an undo says about its base, and what the undos after it say about the
   * earlier states, except for bytes that changed since. Without the second part, two states could be confused if a
   * block was written and then written back.
   */
  async judge(head: Undo): Promise<Verdict> {
    const { target, states, differing } = this;
    if (differing.has(head)) return 'differs';
    const later = new Layers();
    const seen = new Map<string, Undo>();
    let isHeadProved = false;
    for (let undo: Undo | undefined = head; undo !== undefined; undo = states.undosFrom(undo.result)[0]) {
      if (seen.has(undo.base)) break;
      seen.set(undo.base, undo);
      const archive = await openUndo(undo);
      for (const proof of await ArchiveProofs.read(archive)) {
        this.env.signal.throwIfAborted();
        if (later.touch(proof)) continue;
        if (proof.offset + proof.length > target.size || !(await holdsProof(target, proof))) {
          // Then the target is not in any state on the way here either: fewer undos are between it and this proof.
          for (const each of seen.values()) differing.add(each);
          return 'differs';
        }
        if (undo === head) isHeadProved = true;
      }
      later.add(archive.extents);
    }
    return isHeadProved ? 'holds' : 'unknown';
  }
}

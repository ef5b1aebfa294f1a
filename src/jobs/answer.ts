import { BufferPool } from '../device/aligned-memory.js';
import type { Surroundings } from '../host/surroundings.js';
import { answerQueries, type AnswerOutcome } from '../session/answer-queries.js';
import type { ReceiverLine } from '../session/receiver.js';
import type { AllowedTargets } from '../target/allowed-targets.js';
import { openReadOnly } from '../target/open-target.js';
import { VERIFY_MEMORY } from './memory.js';

/** Is the far side of a verify, for a device or file of this host that is only read; with `allowed`, one of those. */
export function answer(
  line: ReceiverLine,
  path: string,
  about: Surroundings,
  allowed: AllowedTargets | null = null,
): Promise<AnswerOutcome> {
  const open = () => openReadOnly(path, allowed, about);
  return answerQueries(line, open, about, new BufferPool(VERIFY_MEMORY).lend);
}

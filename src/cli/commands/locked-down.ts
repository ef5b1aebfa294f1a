import { answerDoctor } from '../../doctor/doctor.js';
import { UsageError } from '../../errors.js';
import { stateDirOf } from '../../host/surroundings.js';
import { receive } from '../../jobs/apply.js';
import { combinePolicy, readClientCommand, readClientSession } from '../../reach/client-wish.js';
import { refuseSession, type ReceiverLine } from '../../session/receiver.js';
import { AllowedTargets } from '../../targets/allowed-targets.js';
import { answer } from '../../verify/answer-queries.js';
import type { Context } from '../context.js';
import { policyOf, type PolicyOptions } from '../options/policy.js';

/** How a session ended, and whether the client could be told. */
interface Ending {
  readonly error: Error | null;
  readonly told: boolean;
}

/** The options of a locked-down receiver: the administrator's words, in authorized_keys. */
export interface LockedDownOptions extends PolicyOptions {
  readonly readOnly?: true | undefined;
  readonly allow?: string[] | undefined;
  readonly snapbackDir?: string | undefined;
}

/**
 * Serves a client whose words sshd handed over and did not run. Throws UsageError where the administrator's words
 * make no sense, CommandError where the client's are none of an lvmsync's.
 */
export async function receiveLockedDown(
  target: string | undefined,
  options: LockedDownOptions,
  context: Context,
  line: ReceiverLine,
): Promise<Ending> {
  if (target !== undefined) {
    throw new UsageError(
      `${target}: --restrict takes no TARGET: its client names one (quote --allow's globs)`,
    );
  }
  if (options.snapback !== undefined)
    throw new UsageError('--restrict goes with --snapback-dir, not --snapback');
  if (options.create !== undefined || options.createThin !== undefined) {
    throw new UsageError('--restrict goes without --create: a locked-down receiver writes what is there');
  }
  if (options.requireSnapback === true && options.snapbackDir === undefined)
    throw new UsageError('--require-snapback needs --snapback-dir DIR');
  if (options.requireJournal === true && !options.journal)
    throw new UsageError('--require-journal and --no-journal contradict each other');
  if (options.allow === undefined) throw new UsageError('--restrict needs --allow GLOB');
  const allowed = AllowedTargets.of(options.allow);
  const wish = readClientCommand(context.sshOriginalCommand);
  switch (wish.kind) {
    case 'receive':
      return await serve(wish.words, options, allowed, context, line);
    case 'doctor': {
      const about = context.surroundings('normal');
      const { stateDir } = policyOf(options);
      const own = { ...about, stateDir: stateDirOf(stateDir, about) };
      await answerDoctor(line, context.self(), 'itself', own);
      return { error: null, told: true };
    }
    case 'version':
      await line.output.write(Buffer.from(`${context.version}\n`));
      return { error: null, told: true };
  }
}

async function serve(
  words: readonly string[],
  options: LockedDownOptions,
  allowed: AllowedTargets,
  context: Context,
  line: ReceiverLine,
): Promise<Ending> {
  const about = context.surroundings('normal');
  try {
    const session = readClientSession(words);
    if (session.readOnly) return await answer(line, session.target, about, allowed);
    if (options.readOnly === true)
      throw new UsageError('this receiver is locked down: it only answers a verify');
    const policy = combinePolicy(policyOf(options), session, options.snapbackDir ?? null);
    return await receive(line, session.target, policy, about, allowed);
  } catch (error) {
    if (error instanceof UsageError) return await refuseSession(line, error);
    throw error;
  }
}

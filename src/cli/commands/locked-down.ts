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

/** How a session ended, and whether the client received the error. */
interface Ending {
  readonly error: Error | null;
  readonly told: boolean;
}

/** The options of a locked-down receiver, which the administrator writes in authorized_keys. */
export interface LockedDownOptions extends PolicyOptions {
  readonly readOnly?: true | undefined;
  readonly allow?: string[] | undefined;
  readonly snapbackDir?: string | undefined;
}

/**
 * Serves a client whose command sshd passed on without running it. Throws UsageError if the administrator's options
 * contradict each other, and CommandError if the client's command is not one that lvmsync sends.
 */
export async function receiveLockedDown(
  target: string | undefined,
  options: LockedDownOptions,
  context: Context,
  line: ReceiverLine,
): Promise<Ending> {
  if (target !== undefined) {
    throw new UsageError(
      `${target}: unexpected argument: with --restrict the client names the TARGET (are the globs of --allow in quotes?)`,
    );
  }
  if (options.snapback !== undefined)
    throw new UsageError('--snapback cannot be used with --restrict: use --snapback-dir');
  if (options.create !== undefined || options.createThin !== undefined) {
    throw new UsageError(
      '--create cannot be used with --restrict: a locked-down receiver only writes targets that exist',
    );
  }
  if (options.requireSnapback === true && options.snapbackDir === undefined)
    throw new UsageError('--require-snapback needs --snapback-dir DIR');
  if (options.requireJournal === true && !options.journal)
    throw new UsageError('--require-journal cannot be used with --no-journal');
  if (options.allow === undefined) throw new UsageError('--restrict needs --allow GLOB');
  const allowed = AllowedTargets.of(options.allow);
  const wish = readClientCommand(context.sshOriginalCommand);
  switch (wish.kind) {
    case 'receive':
      return await serve(wish.words, { ...options, allowed }, context, line);
    case 'doctor': {
      const env = context.surroundings('normal');
      const { stateDir } = policyOf(options);
      const own = { ...env, stateDir: stateDirOf(stateDir, env) };
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
  { allowed, ...options }: LockedDownOptions & { readonly allowed: AllowedTargets },
  context: Context,
  line: ReceiverLine,
): Promise<Ending> {
  const env = context.surroundings('normal');
  try {
    const session = readClientSession(words);
    if (session.readOnly) return await answer(line, session.target, env, allowed);
    if (options.readOnly === true)
      throw new UsageError('this receiver is locked down: it only answers a verify');
    const policy = combinePolicy(policyOf(options), session, options.snapbackDir ?? null);
    return await receive(line, { path: session.target, policy }, env, allowed);
  } catch (error) {
    if (error instanceof UsageError) return await refuseSession(line, error);
    throw error;
  }
}

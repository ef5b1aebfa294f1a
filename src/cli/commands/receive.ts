import { Command } from '@commander-js/extra-typings';
import { UsageError } from '../../errors.js';
import { receive } from '../../jobs/apply.js';
import { sinkFrom } from '../../transport/stream-channel.js';
import type { Context } from '../context.js';
import { exitCodeOf, SUCCESS } from '../exit-code.js';
import { policyOf, withCreate, withPolicy } from '../options/policy.js';
import type { LockedDownOptions } from './locked-down.js';

const USAGE = `[options] TARGET
       lvmsync receive --restrict --allow GLOB... [options]`;

/** The far side of a session, which the sender starts: frames come in on stdin, replies go out on stdout. */
export function receiveCommand(context: Context, exitWith: (status: number) => void) {
  const command = new Command('receive')
    .description(
      'Run the receiving side of a transfer: read frames from standard input, write replies to standard output.',
    )
    .usage(USAGE)
    .argument('[TARGET]', 'the block device or image file to write');
  return withCreate(withPolicy(command))
    .option('--read-only', 'never write; only send the digests that lvmsync verify asks for')
    .optionsGroup('Locked-down mode:')
    .option('--restrict', 'read the arguments from SSH_ORIGINAL_COMMAND, and accept only a few')
    .option(
      '--allow <glob...>',
      'with --restrict: the targets that clients may write, such as "/dev/backup/*"',
    )
    .option(
      '--snapback-dir <dir>',
      'with --restrict: directory for snapbacks; without it, clients cannot keep any',
    )
    .option('--require-snapback', 'with --restrict: refuse clients that do not give --snapback')
    .option('--require-journal', 'with --restrict: refuse full copies, which save no old bytes')
    .action(async (target, options) => {
      const { error, told } =
        options.restrict === true
          ? await (
              await import('./locked-down.js')
            ).receiveLockedDown(target, options, context, lineOf(context))
          : await receivePlainly(target, options, context);
      if (error === null) {
        exitWith(told ? SUCCESS : exitCodeOf(error));
        return;
      }
      // If the sender received the error, it prints it; printing it here as well would show it twice.
      if (!told) throw error;
      exitWith(exitCodeOf(error));
    });
}

async function receivePlainly(target: string | undefined, options: LockedDownOptions, context: Context) {
  if (target === undefined)
    throw new UsageError('missing argument: TARGET (a block device or an image file)');
  if (options.allow !== undefined) throw new UsageError('--allow needs --restrict');
  if (options.snapbackDir !== undefined) throw new UsageError('--snapback-dir needs --restrict');
  for (const [word, given] of [
    ['--require-snapback', options.requireSnapback],
    ['--require-journal', options.requireJournal],
  ]) {
    if (given === true) throw new UsageError(`${String(word)} needs --restrict`);
  }
  if (options.readOnly === true && options.snapback !== undefined) {
    throw new UsageError('--snapback cannot be used with --read-only');
  }
  const env = context.surroundings('normal');
  if (options.readOnly !== true)
    return await receive(lineOf(context), { path: target, policy: policyOf(options) }, env);
  const { answer } = await import('../../verify/answer-queries.js');
  return await answer(lineOf(context), target, env);
}

/** The connection to the sender: this process's standard input and output. */
function lineOf(context: Context) {
  return {
    input: context.input('the sender'),
    output: sinkFrom(context.stdout, 'the sender'),
  };
}

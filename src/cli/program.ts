import { CommanderError, type Command } from '@commander-js/extra-typings';
import { LvmsyncError, UsageError } from '../errors.js';
import { COMMANDS, commandNamed, refuseEmpty } from './commands/words.js';
import type { Context } from './context.js';
import { exitCodeOf, SUCCESS } from './exit-code.js';
import { layOut } from './help.js';
import { helpOption } from './options/talk.js';
import { watchOutput } from './standard-output.js';
import { commandMeant, describeMisuse } from './suggest.js';

/**
 * Runs a command line; resolves to the exit status. Every failure is printed in one line. If standard output could not
 * be written, the status is that of an earlier failure, or else that of the failed write.
 */
export async function runProgram(words: readonly string[], context: Context): Promise<number> {
  const endOutput = watchOutput(context.stdout);
  let status = SUCCESS;
  let program = 'lvmsync';
  try {
    const name = commandNamed(words[0]);
    const command = await build(name, context, (given) => (status = given));
    program = command.name();
    refuseEmpty(words);
    await command
      .parseAsync(name === null ? words : words.slice(1), { from: 'user' })
      .catch(refuseUnlessAnswered);
    await endOutput();
    return status;
  } catch (error) {
    await endOutput().catch(() => undefined);
    return sayFailure(explain(error, program, words[0] ?? ''), context);
  }
}

/** Commander also throws after it has printed --help or --version. */
function refuseUnlessAnswered(error: unknown): void {
  if (!(error instanceof CommanderError) || error.exitCode !== 0) throw error;
}

async function build(
  name: ReturnType<typeof commandNamed>,
  context: Context,
  exitWith: (status: number) => void,
): Promise<Command> {
  const command = (await choose(name, context, exitWith)) as Command;
  if (name !== null) command.name(`lvmsync ${name}`);
  // Otherwise Commander would exit by itself, and print errors in its own form.
  return layOut(command, context.stdout)
    .addHelpOption(helpOption())
    .exitOverride()
    .configureOutput({
      writeOut: (text) => context.stdout.write(text),
      writeErr: () => undefined,
    });
}

/** Loads only the command that was asked for: loading the others takes time, which is downtime for the volume. */
async function choose(
  name: ReturnType<typeof commandNamed>,
  context: Context,
  exitWith: (status: number) => void,
): Promise<unknown> {
  switch (name) {
    case 'inspect':
      return (await import('./commands/inspect.js')).inspectCommand(context, exitWith);
    case 'pull':
      return (await import('./commands/pull.js')).pullCommand(context);
    case 'copy':
      return (await import('./commands/copy.js')).copyCommand(context);
    case 'receive':
      return (await import('./commands/receive.js')).receiveCommand(context, exitWith);
    case 'send':
      return (await import('./commands/send.js')).sendCommand(context, exitWith);
    case 'verify':
      return (await import('./commands/verify.js')).verifyCommand(context);
    case 'view':
      return (await import('./commands/view.js')).viewCommand(context);
    case 'recover':
      return (await import('./commands/recover.js')).recoverCommand(context);
    case 'doctor':
      return (await import('./commands/doctor.js')).doctorCommand(context, exitWith);
    case 'combine':
      return (await import('./commands/combine.js')).combineCommand(context);
    case 'snapback':
      return (await import('./commands/snapback.js')).snapbackCommand(context);
    case 'archive':
      return (await import('./commands/archive.js')).archiveCommand(context, exitWith);
    case 'restore':
      return (await import('./commands/restore.js')).restoreCommand(context);
    case null:
      return (await import('./commands/transfer.js')).transferCommand(context);
  }
}

/** Makes an error of Commander one of ours, and says so if a transfer failed because its first word was meant as a command. */
function explain(error: unknown, program: string, first: string): unknown {
  if (error instanceof CommanderError)
    return explain(new UsageError(describeMisuse(error, program)), program, first);
  const meant = program === 'lvmsync' ? commandMeant(first, COMMANDS) : '';
  if (meant !== '' && error instanceof LvmsyncError) error.message += `; "${first}" is not a command${meant}`;
  return error;
}

function sayFailure(error: unknown, context: Context): number {
  if (error instanceof LvmsyncError) context.say(error.message);
  else
    context.say(
      `internal error, please report it: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
    );
  return exitCodeOf(error);
}

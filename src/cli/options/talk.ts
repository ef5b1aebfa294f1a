import { Option, type Command, type OptionValues } from '@commander-js/extra-typings';
import type { Verbosity } from '../terminal.js';

/* How much a run prints, and in which form. */

/** The options that every command has are under this heading, too. */
export const OUTPUT_GROUP = 'Output and help:';

/** The options as parsed. */
export interface TalkOptions {
  readonly json?: true | undefined;
  readonly verbose?: true | undefined;
  readonly debug?: true | undefined;
  readonly quiet?: true | undefined;
}

/** Adds the options of a command that reports its progress and prints a summary. */
export function withTalk<Args extends unknown[], Opts extends OptionValues>(command: Command<Args, Opts>) {
  return command
    .addOption(jsonOption())
    .optionsGroup(OUTPUT_GROUP)
    .option('-v, --verbose', 'print more')
    .option('-d, --debug', 'print everything')
    .option('-q, --quiet', 'print errors only');
}

/** For every command that can also answer a script. */
export const jsonOption = () =>
  new Option('--json', 'print the result as one JSON object on standard output').helpGroup(OUTPUT_GROUP);

/** Every command gets it in program.ts. */
export const helpOption = () => new Option('-h, --help', 'print this help').helpGroup(OUTPUT_GROUP);

/** How much to print, according to the options; --quiet and --debug outweigh --verbose. */
export function verbosityOf({ verbose, debug, quiet }: TalkOptions): Verbosity {
  if (quiet === true) return 'quiet';
  if (debug === true) return 'debug';
  return verbose === true ? 'verbose' : 'normal';
}

import { Option } from '@commander-js/extra-typings';
import type { Verbosity } from '../terminal.js';

/*
 * How much a run prints, and in which form. Each option is defined once.
 */

/** The options as parsed. */
export interface TalkOptions {
  readonly verbose?: true | undefined;
  readonly debug?: true | undefined;
  readonly quiet?: true | undefined;
}

export const jsonOption = () =>
  new Option('--json', 'print the summary as one JSON object on standard output');
export const verboseOption = () => new Option('-v, --verbose', 'print more');
export const debugOption = () => new Option('-d, --debug', 'print everything');
export const quietOption = () => new Option('-q, --quiet', 'print errors only');

export function verbosityOf({ verbose, debug, quiet }: TalkOptions): Verbosity {
  if (quiet === true) return 'quiet';
  if (debug === true) return 'debug';
  return verbose === true ? 'verbose' : 'normal';
}

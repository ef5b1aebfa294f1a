import { Option } from '@commander-js/extra-typings';
import type { Verbosity } from '../terminal.js';

/*
 * How much a run says, and in which form: each option defined once.
 */

/** The options as parsed. */
export interface TalkOptions {
  readonly verbose?: true | undefined;
  readonly debug?: true | undefined;
  readonly quiet?: true | undefined;
}

export const jsonOption = () =>
  new Option('--json', 'print the summary as one JSON object on standard output');
export const verboseOption = () => new Option('-v, --verbose', 'say more');
export const debugOption = () => new Option('-d, --debug', 'say everything');
export const quietOption = () => new Option('-q, --quiet', 'say nothing but errors');

export function verbosityOf({ verbose, debug, quiet }: TalkOptions): Verbosity {
  if (quiet === true) return 'quiet';
  if (debug === true) return 'debug';
  return verbose === true ? 'verbose' : 'normal';
}

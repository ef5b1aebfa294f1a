import { InvalidArgumentError, Option } from '@commander-js/extra-typings';

/*
 * The options of the commands that read and write archives: each defined once.
 */

export const proto3Option = () =>
  new Option('--proto3 <kind>', 'what files of the Ruby tool’s format are, as they do not say').choices([
    'changes',
    'undo',
  ] as const);

/** One guard by its name, repeatable. */
export const forceOneOption = (guard: string, meaning: string) =>
  new Option('--force <guard>', `override a guard: ${guard} (${meaning})`)
    .argParser((value: string, before: readonly string[]) => {
      if (value === guard) return [...before, value];
      throw new InvalidArgumentError(`no guard of this name can be overridden (only "${guard}" can).`);
    })
    .default([] as readonly string[], 'none');

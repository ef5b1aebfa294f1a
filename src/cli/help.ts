import { Help, type Command, type OptionValues } from '@commander-js/extra-typings';
import type { Output } from './standard-output.js';

/* How `--help` looks. Every text in it is wrapped to the terminal, except for examples, which are there to be copied. */

const USUAL_WIDTH = 80;
const INDENT = ' '.repeat('Usage: '.length);

/** What a command's help says after its options. */
export interface MoreHelp {
  /** Words and what they mean, by heading. */
  readonly lists?: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly note?: string;
  readonly examples: readonly string[];
}

/** The help of a command for this terminal. */
export function layOut<Args extends unknown[], Opts extends OptionValues>(
  command: Command<Args, Opts>,
  output: Output,
) {
  const columns = output.isTTY === true ? (output.columns ?? 0) : 0;
  return command.configureHelp({
    helpWidth: columns > 0 ? columns : USUAL_WIDTH,
    minWidthToWrap: 20,
    optionDescription,
    commandUsage,
  });
}

/** The text after the options, for `addHelpText`. */
export function moreHelp({ lists = {}, note, examples }: MoreHelp) {
  return ({ command }: { readonly command: Pick<Command, 'createHelp'> }): string => {
    const help = command.createHelp();
    const parts = Object.entries(lists).map(([heading, items]) =>
      [heading, ...itemsOf(items, help)].join('\n'),
    );
    if (note !== undefined) parts.push(help.boxWrap(note, widthOf(help)));
    const heading = examples.length === 1 ? 'Example:' : 'Examples:';
    parts.push([heading, ...examples.map((example) => `  ${example}`)].join('\n'));
    return `\n${parts.join('\n\n')}`;
  };
}

function itemsOf(items: Readonly<Record<string, string>>, help: Help): string[] {
  const longest = Math.max(...Object.keys(items).map((term) => term.length));
  return Object.entries(items).map(([term, text]) => help.formatItem(term, longest, text, help));
}

/** The description with the choices and the default, as a user would write them. */
function optionDescription(option: Parameters<Help['optionDescription']>[0]): string {
  const facts: string[] = [];
  if (option.argChoices !== undefined) facts.push(option.argChoices.join(' or '));
  // Other defaults mean that the option was not given.
  if (typeof option.defaultValue === 'string') facts.push(`default: ${option.defaultValue}`);
  return facts.length === 0 ? option.description : `${option.description} (${facts.join(', ')})`;
}

/** The forms of the command, each on lines of its own. */
function commandUsage(this: Help, command: Parameters<Help['commandUsage']>[0]): string {
  const room = widthOf(this) - INDENT.length;
  return `${command.name()} ${command.usage()}`
    .split('\n')
    .map((form) => this.boxWrap(form.trim(), room - 4).replaceAll('\n', `\n${INDENT}    `))
    .join(`\n${INDENT}`);
}

function widthOf(help: Help): number {
  return help.helpWidth ?? USUAL_WIDTH;
}

import { parseArgs } from 'node:util';

/** How much is measured. */
export interface Form {
  readonly name: 'full' | 'quick';
  /** How often each rival is run, but for the round that is not counted. */
  readonly pairs: number;
}

/** What the command line asks for. */
export interface Wish {
  readonly form: Form;
  /** By name, in the order of the bench. */
  readonly parts: readonly string[];
  /** A commit to build and run beside. */
  readonly against: string | null;
  /** Files to write. */
  readonly json: string | null;
  readonly svg: string | null;
}

const FULL: Form = { name: 'full', pairs: 11 };
const QUICK: Form = { name: 'quick', pairs: 5 };

export const USAGE = `npm run bench -- [quick] [PART...] [--against COMMIT] [--json FILE] [--svg FILE]`;

/** The command line cannot be read as one. */
export class UsageError extends Error {}

/**
 * Reads the words after `npm run bench --`.
 *
 * @param parts each part's name, and whether it has a quick form
 */
export function parseArguments(words: readonly string[], parts: ReadonlyMap<string, boolean>): Wish {
  const { positionals, values } = parseWords(words);
  const isQuick = positionals.includes('quick');
  const named = positionals.filter((name) => name !== 'quick');
  const withForm = [...parts].filter(([, hasQuick]) => hasQuick || !isQuick).map(([name]) => name);
  for (const name of named) {
    if (!parts.has(name))
      throw new UsageError(`there is no part ${name}: the parts are ${[...parts.keys()].join(', ')}`);
    if (!withForm.includes(name)) {
      throw new UsageError(`${name} has no quick form: these have one: ${withForm.join(', ')}`);
    }
  }
  for (const [option, value] of Object.entries(values)) {
    if (value === '') throw new UsageError(`--${option} needs a value`);
  }
  return {
    form: isQuick ? QUICK : FULL,
    parts: named.length === 0 ? withForm : withForm.filter((name) => named.includes(name)),
    against: values.against ?? null,
    json: values.json ?? null,
    svg: values.svg ?? null,
  };
}

function parseWords(words: readonly string[]) {
  try {
    return parseArgs({
      args: [...words],
      allowPositionals: true,
      options: { against: { type: 'string' }, json: { type: 'string' }, svg: { type: 'string' } },
    });
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    // its first sentence; the others tell how to write words that look like options
    throw new UsageError(error.message.split(/\.(?:\s|$)|\n/)[0] ?? '');
  }
}

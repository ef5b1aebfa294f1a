import { UsageError } from '../../errors.js';
import type { SourceSpec } from '../../sources/open-source.js';

/** Commands that exist. */
export const COMMANDS = [
  'inspect',
  'copy',
  'pull',
  'receive',
  'recover',
  'send',
  'verify',
  'view',
  'doctor',
  'combine',
  'snapback',
  'archive',
  'restore',
] as const;
export type CommandName = (typeof COMMANDS)[number];

/** Names that later versions use: a transfer must not take them for something else meanwhile. */
const RESERVED_NAMES = [...['replicate', 'status', 'promote', 'reverse', 'migrate', 'config', 'timer']];

/** The command that the first word selects, or null for a transfer. Throws UsageError for one not built yet. */
export function commandNamed(word: string | undefined): CommandName | null {
  if (word !== undefined && RESERVED_NAMES.includes(word)) {
    throw new UsageError(
      `${word}: this command is not part of this version yet; see lvmsync --help for those that are`,
    );
  }
  return COMMANDS.find((each) => each === word) ?? null;
}

/** Throws UsageError where a command's name stands where a device or file should: it was meant as the first word. */
export function refuseCommandNames(positionals: readonly string[]): void {
  for (const word of positionals) {
    if ((COMMANDS as readonly string[]).includes(word) || RESERVED_NAMES.includes(word)) {
      throw new UsageError(
        `${word}: a command must be the first word; for a file of this name write ./${word}`,
      );
    }
  }
}

/** The options that name a source in files. */
export interface SourceOptions {
  readonly cow?: string | undefined;
  readonly origin?: string | undefined;
  readonly dataSource?: string | undefined;
}

/** Takes the source off the words: SNAPSHOT, unless `--cow` and `--origin` stand for it. Returns what is left. */
export function takeSource(
  words: readonly string[],
  options: SourceOptions,
): { spec: SourceSpec; rest: string[] } {
  const { cow, origin, dataSource } = options;
  const more = dataSource === undefined ? {} : { dataSource };
  if (cow !== undefined && origin !== undefined) {
    return { spec: { kind: 'files', cow, origin, ...more }, rest: [...words] };
  }
  if (cow !== undefined || origin !== undefined) {
    throw new UsageError('--cow FILE and --origin FILE go together');
  }
  const [name, ...rest] = words;
  if (name === undefined)
    throw new UsageError('name a SNAPSHOT, or --cow FILE and --origin FILE (see lvmsync --help)');
  return { spec: { kind: 'snapshot', name, ...more }, rest };
}

/** Throws UsageError where words are left over. */
export function refuseMore(words: readonly string[]): void {
  if (words.length > 0) throw new UsageError(`too many words: ${words.join(' ')}`);
}

import { UsageError } from '../../errors.js';
import type { SourceSpec } from '../../sources/open-source.js';

/** The commands of this version. */
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

/** Names of commands that later versions may have: until then, a transfer must not read them as a snapshot. */
const RESERVED_NAMES = [...['replicate', 'status', 'promote', 'reverse', 'migrate', 'config', 'timer']];

/** The command that the first argument selects, or null for a transfer. Throws UsageError for a reserved name. */
export function commandNamed(word: string | undefined): CommandName | null {
  if (word !== undefined && RESERVED_NAMES.includes(word)) {
    throw new UsageError(
      `${word}: this version does not have that command yet (see lvmsync --help for the list)`,
    );
  }
  return COMMANDS.find((each) => each === word) ?? null;
}

/** Throws UsageError for a command's name in place of a device or file: the user meant it as the first argument. */
export function refuseCommandNames(positionals: readonly string[]): void {
  for (const word of positionals) {
    if ((COMMANDS as readonly string[]).includes(word) || RESERVED_NAMES.includes(word)) {
      throw new UsageError(
        `${word}: a command must be the first argument (for a file with this name, write ./${word})`,
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

/** Takes the source from the arguments: SNAPSHOT, unless `--cow` and `--origin` are given. Returns the rest too. */
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
    throw new UsageError('--cow FILE and --origin FILE must be used together');
  }
  const [name, ...rest] = words;
  if (name === undefined)
    throw new UsageError('missing argument: SNAPSHOT, or --cow FILE and --origin FILE (see lvmsync --help)');
  return { spec: { kind: 'snapshot', name, ...more }, rest };
}

/** Throws UsageError if arguments are left over. */
export function refuseMore(words: readonly string[]): void {
  if (words.length > 0) throw new UsageError(`unexpected argument: ${words.join(' ')}`);
}

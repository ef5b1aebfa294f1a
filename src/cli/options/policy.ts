import { InvalidArgumentError, Option, type Command, type OptionValues } from '@commander-js/extra-typings';
import { UsageError } from '../../errors.js';
import type { ApplyPolicy, CreateWish } from '../../targets/apply-policy.js';

/** The parsed options of a command that writes a target. */
export interface PolicyOptions {
  readonly snapback?: string | undefined;
  readonly journal: boolean;
  readonly requireSnapback?: true | undefined;
  readonly requireJournal?: true | undefined;
  readonly stateDir?: string | undefined;
  readonly force: readonly string[];
  readonly onBaseMismatch: 'resend' | 'stop';
  readonly dryRun?: true | undefined;
  readonly create?: true | undefined;
  readonly createThin?: string | undefined;
}

export const TARGET_GROUP = 'Target:';

/** Adds the options of a command that applies changes to a target. */
export function withPolicy<Args extends unknown[], Opts extends OptionValues>(command: Command<Args, Opts>) {
  return command
    .optionsGroup(TARGET_GROUP)
    .addOption(snapbackOption())
    .addOption(forceOption('base', NOT_THE_BASE))
    .addOption(
      new Option(
        '--on-base-mismatch <action>',
        'what to do if TARGET does not hold the old bytes of the base',
      )
        .choices(['resend', 'stop'] as const)
        .default('resend' as const),
    )
    .addOption(noJournalOption())
    .addOption(stateDirOption())
    .addOption(dryRunOption());
}

/** Adds the options of a command that can create its target. */
export function withCreate<Args extends unknown[], Opts extends OptionValues>(command: Command<Args, Opts>) {
  return command
    .optionsGroup(TARGET_GROUP)
    .option(
      '--create',
      'create TARGET if it does not exist: /dev/VG/LV as a volume, anything else as a sparse file',
    )
    .option(
      '--create-thin <pool>',
      'the same, but create a thin volume in POOL, which must be in the volume group of TARGET',
    );
}

/** Keeps the old bytes in a file, also after the run. */
export const snapbackOption = () =>
  new Option('-b, --snapback <file>', 'keep the old bytes in FILE, on the host that writes TARGET').helpGroup(
    TARGET_GROUP,
  );

/** What forcing the guard `base` of a target means. */
export const NOT_THE_BASE = 'TARGET is not in the state that the changes start from';

/** Overrides one guard, by name; it can be repeated. */
export const forceOption = (guard: 'base' | 'writable', meaning: string) =>
  new Option('--force <guard>', `override a guard: ${guard} (${meaning})`)
    .argParser((value: string, before: readonly string[]) => {
      if (value === guard) return [...before, value];
      throw new InvalidArgumentError(`The only guard that can be overridden is "${guard}".`);
    })
    .default([] as readonly string[])
    .helpGroup(TARGET_GROUP);

export const noJournalOption = () =>
  new Option(
    '--no-journal',
    'overwrite without saving the old bytes first: a crash leaves TARGET half-written',
  ).helpGroup(TARGET_GROUP);

export const stateDirOption = () =>
  new Option(
    '--state-dir <dir>',
    'directory for journals and records, on the host that writes TARGET',
  ).helpGroup(TARGET_GROUP);

export const dryRunOption = () =>
  new Option('--dry-run', 'check everything that can be checked, but write nothing').helpGroup(TARGET_GROUP);

/** The policy that the options ask for. */
export function policyOf(options: PolicyOptions): ApplyPolicy {
  return {
    stateDir: options.stateDir ?? null,
    snapback: options.snapback ?? null,
    journal: options.journal,
    requireSnapback: options.requireSnapback === true,
    requireJournal: options.requireJournal === true,
    forceBase: options.force.includes('base'),
    stopOnMismatch: options.onBaseMismatch === 'stop',
    dryRun: options.dryRun === true,
    create: createOf(options),
  };
}

/** What to create if the target does not exist; null for nothing. Throws UsageError. */
export function createOf({ create, createThin, dryRun }: Partial<PolicyOptions>): CreateWish | null {
  if (create === undefined && createThin === undefined) return null;
  if (dryRun === true) throw new UsageError('--create cannot be used with --dry-run, which creates nothing');
  return createThin === undefined ? { kind: 'plain' } : { kind: 'thin', pool: createThin };
}

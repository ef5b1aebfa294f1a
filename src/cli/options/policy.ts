import { InvalidArgumentError, Option } from '@commander-js/extra-typings';
import { UsageError } from '../../errors.js';
import type { ApplyPolicy, CreateWish } from '../../targets/apply-policy.js';

/** The options of whoever writes a target, as parsed. */
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

/** Where the old bytes are kept for good. */
export const snapbackOption = () =>
  new Option('-b, --snapback <file>', 'keep the old bytes in FILE, on the host that writes TARGET');

export const stateDirOption = () =>
  new Option('--state-dir <dir>', 'where journals lie, on the host that writes TARGET');

export const noJournalOption = () =>
  new Option(
    '--no-journal',
    'overwrite without saving the old bytes first: a crash leaves TARGET half-written',
  );

/** Guards that may be overridden, by name. */
export const forceOption = () =>
  new Option(
    '--force <guard>',
    'override a guard: base (TARGET is not in the state that the changes start from)',
  )
    .argParser((value: string, before: readonly string[]) => [...before, checkGuard(value)])
    .default([] as readonly string[], 'none');

export const onBaseMismatchOption = () =>
  new Option('--on-base-mismatch <action>', 'when old bytes are not those of the base')
    .choices(['resend', 'stop'] as const)
    .default('resend' as const);

export const dryRunOption = () =>
  new Option('--dry-run', 'check everything that can be checked, write nothing');

export const createOption = () =>
  new Option('--create', 'make TARGET where there is none: /dev/VG/LV as a volume, else a sparse file');

export const createThinOption = () =>
  new Option('--create-thin <pool>', 'the same, as a thin volume of POOL, in the group of TARGET');

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

/** What shall be made where there is no target. Throws UsageError. */
export function createOf({ create, createThin, dryRun }: Partial<PolicyOptions>): CreateWish | null {
  if (create === undefined && createThin === undefined) return null;
  if (dryRun === true) throw new UsageError('--dry-run makes nothing, so --create cannot be used with it');
  return createThin === undefined ? { kind: 'plain' } : { kind: 'thin', pool: createThin };
}

function checkGuard(value: string): string {
  if (value === 'base') return value;
  throw new InvalidArgumentError(`no guard of this name can be overridden (only "base" can).`);
}

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

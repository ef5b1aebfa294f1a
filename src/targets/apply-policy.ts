import { UsageError } from '../errors.js';
import type { StreamHeader } from '../stream/stream-header.js';

/** What shall be made where there is no target: a plain volume or sparse file, or a thin volume of a pool. */
export type CreateWish = { readonly kind: 'plain' } | { readonly kind: 'thin'; readonly pool: string };

/** What a user wants of whoever writes a target. */
export interface ApplyPolicy {
  /** Where journals, locks and records lie; null for the default of the host that writes. */
  readonly stateDir: string | null;
  /** Where to keep the old bytes for good, or null. */
  readonly snapback: string | null;
  /** Whether to save old bytes before they are overwritten, so that a crash can be taken back. */
  readonly journal: boolean;
  /** Take no changes whose old bytes are not kept in a snapback; a receiver's own word, which no sender gives. */
  readonly requireSnapback: boolean;
  /** Take nothing whose old bytes are not saved, as those of a full copy are not; likewise. */
  readonly requireJournal: boolean;
  /** Go on although the target does not seem to be in the state that the stream starts from. */
  readonly forceBase: boolean;
  /** Stop at the first block whose old bytes are not those of the stream's base. */
  readonly stopOnMismatch: boolean;
  /** Check everything that can be checked, and write nothing. */
  readonly dryRun: boolean;
  /** Make the target where there is none, or null. */
  readonly create: CreateWish | null;
}

/** What a user gets who says nothing. */
export const DEFAULT_POLICY: ApplyPolicy = {
  stateDir: null,
  snapback: null,
  journal: true,
  requireSnapback: false,
  requireJournal: false,
  forceBase: false,
  stopOnMismatch: false,
  dryRun: false,
  create: null,
};

/** Whether the old bytes are saved: not those that a full copy overwrites, which nobody wants back, unless asked to. */
export function keepsOldBytes({ journal, snapback }: ApplyPolicy, header: StreamHeader | null): boolean {
  return snapback !== null || (journal && !isOverwriting(header));
}

/** Whether a stream overwrites all of a target, whatever that holds. */
export function isOverwriting(header: StreamHeader | null): boolean {
  return header?.kind === 'full' && header.compared !== true;
}

/** Whether a stream says that it will write: one of nothing keeps nothing, and an apply holds it to that. */
export function announcesWrites(header: StreamHeader | null): boolean {
  return header?.expectedBytes !== 0 || isOverwriting(header);
}

/** Throws UsageError where a stream that is to write would not keep the old bytes that the policy insists on. */
export function checkKept(policy: ApplyPolicy, header: StreamHeader | null): void {
  const refusal = whyNotKept(policy, header);
  if (refusal !== null) throw refusal;
}

/** The error of a stream that would not keep the old bytes that the policy insists on; null where it does. */
export function whyNotKept(policy: ApplyPolicy, header: StreamHeader | null): UsageError | null {
  if (policy.requireSnapback && policy.snapback === null) {
    const others = 'copy and verify --repair cannot: use lvmsync --scan SOURCE HOST:TARGET --snapback NAME';
    return new UsageError(`this receiver requires a snapback: add --snapback NAME (${others})`);
  }
  if (policy.requireJournal && !keepsOldBytes(policy, header)) {
    const others = 'use "lvmsync --scan", which sends only what differs and keeps a journal';
    return new UsageError(`this receiver requires a journal, and a full copy keeps no journal: ${others}`);
  }
  return null;
}

/** A policy as words of `lvmsync receive`, for the far side. */
export function policyWords(policy: ApplyPolicy): string[] {
  return [
    ...(policy.stateDir === null ? [] : ['--state-dir', policy.stateDir]),
    ...(policy.snapback === null ? [] : ['--snapback', policy.snapback]),
    ...(policy.journal ? [] : ['--no-journal']),
    ...(policy.forceBase ? ['--force', 'base'] : []),
    ...(policy.stopOnMismatch ? ['--on-base-mismatch', 'stop'] : []),
    ...createWords(policy.create),
  ];
}

function createWords(create: CreateWish | null): string[] {
  if (create === null) return [];
  return create.kind === 'plain' ? ['--create'] : ['--create-thin', create.pool];
}

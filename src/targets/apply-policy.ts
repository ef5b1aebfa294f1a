import { UsageError } from '../errors.js';
import type { StreamHeader } from '../stream/stream-header.js';

/** What to create if the target does not exist: a plain volume or sparse file, or a thin volume in a pool. */
export type CreateWish = { readonly kind: 'plain' } | { readonly kind: 'thin'; readonly pool: string };

/** How a user wants a target to be written. */
export interface ApplyPolicy {
  /** Where journals, locks and records are; null: the default of the host that writes. */
  readonly stateDir: string | null;
  /** The file in which to keep the old bytes after the apply, or null. */
  readonly snapback: string | null;
  /** Whether to save old bytes before they are overwritten, so that an interrupted apply can be taken back. */
  readonly journal: boolean;
  /**
   * Refuse changes whose old bytes are not kept in a snapback. Set by the receiver's own command line, never by a
   * sender.
   */
  readonly requireSnapback: boolean;
  /** Refuse streams whose old bytes are not saved, such as a full copy. Also set by the receiver only. */
  readonly requireJournal: boolean;
  /** Apply although the target does not seem to hold the stream's base. */
  readonly forceBase: boolean;
  /** Stop at the first block whose old bytes differ from the stream's base. */
  readonly stopOnMismatch: boolean;
  /** Check everything that can be checked, and write nothing. */
  readonly dryRun: boolean;
  /** How to create a target that does not exist, or null. */
  readonly create: CreateWish | null;
}

/** The policy of a command line without options. */
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

/** Whether the old bytes are saved. Those that a full copy overwrites are not, unless the user asks for a snapback. */
export function keepsOldBytes({ journal, snapback }: ApplyPolicy, header: StreamHeader | null): boolean {
  return snapback !== null || (journal && !isOverwriting(header));
}

/** Whether a stream overwrites a whole target, whatever it holds. */
export function isOverwriting(header: StreamHeader | null): boolean {
  return header?.kind === 'full' && header.compared !== true;
}

/** Whether a stream announces writes. One that announces nothing keeps no old bytes, and must not write. */
export function announcesWrites(header: StreamHeader | null): boolean {
  return header?.expectedBytes !== 0 || isOverwriting(header);
}

/** Throws UsageError if a stream that writes would not keep the old bytes that the policy requires. */
export function checkKept(policy: ApplyPolicy, header: StreamHeader | null): void {
  const refusal = whyNotKept(policy, header);
  if (refusal !== null) throw refusal;
}

/** The error for a stream that would not keep the old bytes that the policy requires; null: it would. */
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

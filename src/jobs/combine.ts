import { openArchive, type ArchiveWish } from '../archive/archive.js';
import { writeArchive } from '../archive/new-archive.js';
import type { Packing } from '../archive/pack-archive.js';
import { ArchiveProofs, JoinedProofs } from '../archive/proofs.js';
import { CombinationPlanner, type Combination, type CombinationWish } from '../chain/combination.js';
import {
  headerOfCombination,
  refuseTornSectors,
  writeCombination,
  type ProvedCombination,
} from '../chain/write-combination.js';
import { loadCodec } from '../codec/load-codec.js';
import { UsageError } from '../errors.js';
import { makerOf, type Surroundings } from '../host/surroundings.js';
import type { CompressionWish } from '../send/choose-packer.js';

/** A codec by name, or no compression. */
export type CodecWish = Exclude<CompressionWish, { kind: 'auto' }>;

export interface CombineOptions extends CombinationWish, ArchiveWish {
  /** Null leaves each block as its archive has it. */
  readonly codec: CodecWish | null;
}

/** What was combined. Bytes and seconds. */
export interface CombineSummary {
  readonly plan: Combination;
  readonly size: number;
  readonly seconds: number;
}

/**
 * Combines archives, in the order in which they would be applied, into a new one. Throws as `openArchive`,
 * `planCombination` and `writeArchive`; it then leaves no new file.
 */
export async function combine(
  out: string,
  paths: readonly string[],
  options: CombineOptions,
  env: Surroundings,
): Promise<CombineSummary> {
  const started = env.clock();
  const planner = new CombinationPlanner(options);
  const proofs = new JoinedProofs();
  for (const path of paths) {
    env.signal.throwIfAborted();
    const archive = await openArchive(path, options);
    // Nothing is known about the target, so an undo itself has to say what it starts from.
    if (archive.kind === 'undo')
      proofs.add(await ArchiveProofs.read(archive), (extent) => planner.changes(extent));
    planner.add(archive);
  }
  const plan = planner.plan();
  const advice = `if it is not, remove ${out}, and combine them in the order in which they would be applied`;
  for (const line of plan.believed) env.notice(`${line}; ${advice}`);
  const size = await saveCombination(out, { plan, proofs: proofs.join() }, options.codec, env);
  return { plan, size, seconds: (env.clock() - started) / 1000 };
}

/**
 * Writes a plan as an archive, with the proofs of its base, if any. Returns its size in bytes. Throws as
 * `writeArchive`, and UsageError as `refuseTornSectors`.
 */
export async function saveCombination(
  out: string,
  combination: ProvedCombination,
  codec: CodecWish | null,
  env: Surroundings,
): Promise<number> {
  const { plan } = combination;
  refuseTornSectors(plan);
  const packing = codec === null ? null : await packingOf(codec);
  env.progress.start(plan.bytes);
  try {
    const header = headerOfCombination(plan, makerOf(env));
    const { size } = await writeArchive(out, header, (writer) =>
      writeCombination(combination, writer, packing, env),
    );
    return size;
  } finally {
    env.progress.stop();
  }
}

/** Throws UsageError if this host does not have the codec. */
export async function packingOf(wish: CodecWish): Promise<Packing> {
  if (wish.kind === 'none') return { codec: null, level: null };
  const codec = await loadCodec(wish.name);
  if (codec !== null) return { codec, level: wish.level };
  throw new UsageError(
    `--codec ${wish.name}: not available on this host: install libzstd1, or Node 22.15 or newer`,
  );
}

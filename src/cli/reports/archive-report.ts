import type { CheckedArchive, ListedArchive, PruneSummary } from '../../jobs/archive.js';
import { countOf, formatBytes } from '../../bytes/amounts.js';

/** The archives of a directory as a table: one line each, the latest first. */
export function describeArchives(archives: readonly ListedArchive[]): string[] {
  const rows = archives.map(({ header, protocol, bytes, size, name, problem }) => [
    header === null ? '-' : header.time.replace(/\.\d+/, ''),
    problem === null ? (header?.kind ?? `PROTO[${protocol ?? '?'}]`) : 'UNUSABLE',
    bytes === null ? '-' : formatBytes(bytes),
    formatBytes(size),
    header === null ? '-' : `${header.base ?? '?'} -> ${header.result ?? '?'}`,
    name,
  ]);
  const table = [['TIME', 'KIND', 'BYTES', 'FILE SIZE', 'FROM -> TO', 'FILE'], ...rows];
  const widths = (table[0] ?? []).map((_, column) =>
    Math.max(...table.map((row) => (row[column] ?? '').length)),
  );
  const problems = archives.flatMap(({ problem }) => (problem === null ? [] : [`${problem.message}\n`]));
  const lines = table.map(
    (row) =>
      `${row
        .map((cell, at) => cell.padEnd(widths[at] ?? 0))
        .join('  ')
        .trimEnd()}\n`,
  );
  return [...lines, ...problems];
}

export function archiveJson({ path, protocol, header, bytes, size, problem }: ListedArchive): object {
  return {
    ...{ path, protocol, kind: header?.kind ?? null, time: header?.time ?? null },
    ...{ base: header?.base ?? null, result: header?.result ?? null, volumeSize: header?.volumeSize ?? null },
    ...{ changedBytes: bytes, size, problem: problem?.message ?? null },
  };
}

export function checkJson({ archive, problem }: CheckedArchive): object {
  return { ...archiveJson(archive), problem: problem?.message ?? null };
}

/** What a prune did, or would do. */
export function describePrune(
  { plans, unpruned, madeBytes, freedBytes }: PruneSummary,
  dryRun: boolean,
): string[] {
  const lines: string[] = [];
  const count = (of: (plan: PruneSummary['plans'][number]) => readonly unknown[]) =>
    plans.reduce((sum, plan) => sum + of(plan).length, 0);
  for (const { combinations, removed, dropped } of plans) {
    for (const state of dropped) lines.push(`state ${state}: dropped`);
    for (const { name, undos } of combinations)
      lines.push(`${name}: combines ${countOf(undos.length, 'archive')}`);
    for (const { archive } of removed) lines.push(`${archive.name}: removed`);
  }
  for (const { archives, reason } of unpruned) {
    const names = archives.map(({ name }) => name).join(', ');
    lines.push(`not pruned: ${countOf(archives.length, 'archive')} (${names}): ${reason}`);
  }
  const verb = dryRun ? 'would be kept' : 'kept';
  const bytes = dryRun ? '' : `; ${formatBytes(freedBytes)} removed, ${formatBytes(madeBytes)} written`;
  lines.push(
    `${countOf(
      count((plan) => plan.kept),
      'state',
    )} ${verb}, ${count((plan) => plan.dropped)} dropped${bytes}`,
  );
  return lines;
}

export function pruneJson(summary: PruneSummary): object {
  const { plans, unpruned, madeBytes, freedBytes } = summary;
  return {
    kept: plans.flatMap(({ kept }) => kept),
    dropped: plans.flatMap(({ dropped }) => dropped),
    combined: plans.flatMap(({ combinations }) => combinations.map(({ name }) => name)),
    removed: plans.flatMap(({ removed }) => removed.map(({ archive }) => archive.name)),
    unpruned: unpruned.flatMap(({ archives }) => archives.map(({ name }) => name)),
    madeBytes,
    freedBytes,
  };
}

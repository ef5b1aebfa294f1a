import type { ViewSummary } from '../../jobs/view.js';
import { pathOf, type ListedView } from '../../view/list-views.js';
import type { StorePlan } from '../../view/store-plan.js';
import { countOf, formatBytes, formatDuration, formatShare } from '../../bytes/amounts.js';

/** What opening a view did, for stderr. */
export function* describeOpened({ record, path, plan, seconds }: ViewSummary): Generator<string> {
  const { exceptions, layout } = plan;
  const held = formatBytes(exceptions * layout.chunkSize);
  yield `${path} shows ${record.target} as it was: ${held} in chunks of ${formatBytes(layout.chunkSize)}, ${formatDuration(seconds)}`;
  if (record.parts.form === 'device') {
    yield `do not write to ${record.target} until the view is closed (lvmsync view close ${record.name})`;
  }
}

/** The same as one JSON object. */
export function openedJson({ record, path, plan, seconds }: ViewSummary): string {
  const { name, target, state, parts } = record;
  return `${JSON.stringify({
    ...{ name, target, path, state, form: parts.form },
    ...storeFacts(plan),
    seconds: Math.round(seconds * 1000) / 1000,
  })}\n`;
}

export function describeStorePlan(path: string, plan: StorePlan): string {
  const { chunkSize, exceptions } = storeFacts(plan);
  return `${path}: a store with ${countOf(exceptions, 'chunk')} of ${formatBytes(chunkSize)} (${chunkSize / 512} sectors)`;
}

function storeFacts({ layout: { chunkSize }, exceptions, fillBytes, usedBytes }: StorePlan) {
  return { chunkSize, exceptions, fillBytes, usedBytes };
}

/** A table of views, for stdout. */
export function* viewLines(views: readonly ListedView[]): Generator<string> {
  const rows = views.map((view) => [
    view.record.name,
    view.status,
    view.usedBytes === null ? '-' : formatShare(view.usedBytes, view.totalBytes ?? 0),
    view.record.target,
    pathOf(view.record),
    view.record.openedAt,
    view.record.state ?? '-',
  ]);
  const titled = [['NAME', 'STATUS', 'FILLED', 'TARGET', 'SHOWS AS', 'OPENED', 'STATE'], ...rows];
  const widths = (titled[0] ?? []).map((_, column) =>
    Math.max(...titled.map((row) => row[column]?.length ?? 0)),
  );
  for (const row of titled) {
    yield `${row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd()}\n`;
  }
}

/** The same as one JSON object; sizes in bytes. */
export function viewsJson(views: readonly ListedView[]): string {
  const rows = views.map(({ record, path, status, usedBytes, totalBytes }) => {
    const { name, target, state, openedAt, purpose, parts } = record;
    return { name, status, target, path, form: parts.form, purpose, state, openedAt, usedBytes, totalBytes };
  });
  return `${JSON.stringify({ views: rows })}\n`;
}

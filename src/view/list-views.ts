import type { Surroundings } from '../host/surroundings.js';
import { findNode } from '../lvm/device-node.js';
import { findMapped, readFill, type SnapshotFill } from '../snapshots/mapped-snapshot.js';
import { readViews, type ViewRecord } from './view-record.js';

/** How a view is, now. */
export interface ListedView {
  readonly record: ViewRecord;
  /** Where it shows, or would show. */
  readonly path: string;
  /** `gone` where its device is not there: after a reboot, or when someone removed it. */
  readonly status: 'open' | 'full' | 'merging' | 'cut short' | 'gone';
  /** Of its store, in bytes; null where that cannot be told. */
  readonly usedBytes: number | null;
  readonly totalBytes: number | null;
}

/** All views of a state directory, with how full their stores are. Throws FormatError, DeviceError, CommandError. */
export async function listViews(stateDir: string, about: Surroundings): Promise<ListedView[]> {
  const views: ListedView[] = [];
  for (const record of await readViews(stateDir)) {
    const fill = await fillOf(record, about);
    const isValid = fill?.is === 'valid';
    views.push({
      record,
      path: pathOf(record),
      status: statusOf(record, fill),
      usedBytes: isValid ? fill.usedBytes : null,
      totalBytes: isValid ? fill.totalBytes : null,
    });
  }
  return views;
}

/** Where a view shows. */
export function pathOf({ parts, name }: ViewRecord): string {
  return parts.form === 'volume' ? `/dev/${parts.store}` : `/dev/mapper/${name}`;
}

async function fillOf(record: ViewRecord, { spawner }: Surroundings): Promise<SnapshotFill | null> {
  const { parts } = record;
  const number = await (parts.form === 'volume' ? findNode(pathOf(record)) : findMapped(spawner, parts.uuid));
  return number === null ? null : await readFill(spawner, number);
}

function statusOf({ step }: ViewRecord, fill: SnapshotFill | null): ListedView['status'] {
  if (step !== 'open') return 'cut short';
  switch (fill?.is) {
    case 'valid':
      return 'open';
    case 'invalid':
      return 'full';
    case 'merging':
      return 'merging';
    default:
      return 'gone';
  }
}

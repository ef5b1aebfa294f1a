import type { Surroundings } from '../host/surroundings.js';
import { findNode } from '../lvm/device-node.js';
import { findMapped, readFill, type SnapshotFill } from '../snapshots/mapped-snapshot.js';
import { readViews, type ViewRecord } from './view-record.js';

/** The present status of a view. */
export interface ListedView {
  readonly record: ViewRecord;
  /** The path of its device, whether it exists or not. */
  readonly path: string;
  /** `gone` if its device does not exist: after a reboot, or because someone removed it. */
  readonly status: 'open' | 'full' | 'merging' | 'cut short' | 'gone';
  /** How full its store is, in bytes; null if that is unknown. */
  readonly usedBytes: number | null;
  readonly totalBytes: number | null;
}

/** All views of a state directory, with how full their stores are. Throws FormatError, DeviceError, CommandError. */
export async function listViews(stateDir: string, env: Surroundings): Promise<ListedView[]> {
  const views: ListedView[] = [];
  for (const record of await readViews(stateDir)) {
    const fill = await fillOf(record, env);
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

/** The path of a view's device. */
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

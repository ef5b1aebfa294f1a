import { mkdirSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { readViews } from '../../src/view/view-record.js';
import { runWords } from '../support/run-program.js';
import { mapDevice, sectorsOf, unmapDevices } from './support/devices.js';
import { createVolume, createVolumeGroup, removeVolumeGroup, run, seededBytes } from './support/lab.js';
import { writeUndo } from './support/undo-archive.js';

// Views of what is elsewhere by the time they are closed.

const GROUP = 'vg-away';
const FOLDER = '/run/away';
const STATE = `${FOLDER}/state`;
const IMAGE = `${FOLDER}/image`;
const UNDO = `${FOLDER}/undo`;
const STORES = `${FOLDER}/stores`;
const SIZE = 4 << 20;

beforeAll(async () => {
  mkdirSync(STORES, { recursive: true });
  const old = seededBytes('old', SIZE);
  const present = Buffer.from(old);
  seededBytes('new', 1 << 20).copy(present, 1 << 20);
  writeFileSync(IMAGE, present);
  await writeUndo(UNDO, old, present, { base: 'new', result: 'old' });
});
afterAll(() => {
  rmSync(FOLDER, { recursive: true });
});
afterEach(async () => {
  expect(await readViews(STATE)).toEqual([]);
  expect((await run(['losetup', '--list', '--noheadings'])).trim()).toBe('');
});

async function view(...words: readonly string[]): Promise<{ status: number; said: string }> {
  const { status, said } = await runWords(['view', ...words, '--state-dir', STATE]);
  return { status, said: said.join('\n') };
}

async function viewWell(...words: readonly string[]): Promise<string> {
  const { status, said } = await view(...words);
  expect(status, said).toBe(0);
  return said;
}

it.each([
  ['a link', `${FOLDER}/link`],
  ['a relative path', path.relative('.', STORES)],
])('a view of an image file, with its store in a folder by %s, closes without a trace', async (_, folder) => {
  symlinkSync(STORES, `${FOLDER}/link`);
  await viewWell('open', 'past', IMAGE, UNDO, '--dir', folder);
  expect(readdirSync(STORES)).toEqual([expect.stringMatching(/^past\.[0-9a-f]{8}\.cow$/)]);
  rmSync(`${FOLDER}/link`);
  await viewWell('close', 'past');
  expect(readdirSync(STORES)).toEqual([]);
});

it('a view of an image file that was renamed, and whose store was removed, leaves no loop device', async () => {
  await viewWell('open', 'past', IMAGE, UNDO, '--dir', STORES);
  renameSync(IMAGE, `${IMAGE} elsewhere`);
  for (const name of readdirSync(STORES)) rmSync(`${STORES}/${name}`);
  await viewWell('close', 'past');
  renameSync(`${IMAGE} elsewhere`, IMAGE);
});

it('a view of a volume whose group is out of sight stays recorded, and closes when the group is back', async () => {
  const table = `0 ${(await sectorsOf('/dev/ubda')) - 2048} linear /dev/ubda 2048`;
  await createVolumeGroup(GROUP, await mapDevice('disk', table));
  try {
    const target = await createVolume(GROUP, 'target', '4M');
    await run(['dd', `if=${IMAGE}`, `of=${target}`, 'bs=1M', 'oflag=direct', 'status=none']);
    await viewWell('open', 'past', target, UNDO);
    await run(['vgchange', '-qq', '-an', GROUP]);
    await unmapDevices('disk');
    expect(await view('close', 'past')).toEqual({
      status: 12,
      said: expect.stringMatching(
        /LVM does not see the volume group vg-away, .* vg-away\/past still exists: bring its disks back/,
      ) as string,
    });
    expect((await readViews(STATE)).map(({ name }) => name)).toEqual(['past']);
    await mapDevice('disk', table);
    await run(['vgchange', '-qq', '-ay', GROUP]);
    expect(await viewWell('close', 'past')).toMatch(/closed/);
    expect((await run(['lvs', '--noheadings', '-o', 'lv_name', GROUP])).trim()).toBe('target');

    // without a view of ours, and with its group there, it is gone for good
    await viewWell('open', 'past', target, UNDO);
    await run(['lvremove', '-qq', '-f', `${GROUP}/past`]);
    await viewWell('close', 'past');
  } finally {
    await removeVolumeGroup(GROUP);
    await unmapDevices('disk');
  }
});

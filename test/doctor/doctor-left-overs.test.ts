import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { VolumeRow } from '../../src/doctor/examine-groups.js';
import {
  examineLeftOvers,
  examineOtherStateDirs,
  examineOurVolumes,
} from '../../src/doctor/examine-left-overs.js';
import { lockFolder } from '../../src/host/run-lock.js';
import { ViewEntry } from '../../src/view/view-record.js';
import { quietSurroundings } from '../support/surroundings.js';

const VG = 'Q5ndWP-3IBZ-Chtm-GqiU-tixB-xbYm-pf3GtO';
const LV = 'rDei7M-YcTb-vfzL-6Q9b-KPaX-z0QR-e6jrgl';
const KEY = 'LVM-Q5ndWP3IBZChtmGqiUtixBxbYmpf3GtOrDei7MYcTbvfzL6Q9bKPaXz0QRe6jrgl';
const VM: VolumeRow = {
  ...{ lv_full_name: 'vg/vm', lv_path: '/dev/vg/vm', lv_uuid: LV, vg_uuid: VG, lv_active: 'active' },
  ...{ lv_attr: '-wi-a-----', lv_merging: '', lv_tags: '', data_percent: '', metadata_percent: '' },
};

let stateDir = '';
beforeEach(() => {
  stateDir = mkdtempSync(path.join(tmpdir(), 'doctor-left-'));
});
afterEach(() => {
  rmSync(stateDir, { recursive: true });
});

const env = () => ({ ...quietSurroundings(), stateDir });
const now = env().now();

/** What an apply that was cut short leaves, so many milliseconds ago. */
function leaveJournal(key: string, age: number, place = stateDir): string {
  const folder = path.join(place, 'targets', key);
  mkdirSync(folder, { recursive: true });
  const note = path.join(folder, 'apply.json');
  writeFileSync(note, JSON.stringify({ log: 'journal', snapback: null }));
  utimesSync(note, now, new Date(now.getTime() - age));
  return folder;
}

function examine(isUsual = true) {
  return examineLeftOvers([VM], { stateDir, isUsual }, env());
}

describe('a doctor reports what is left over:', () => {
  it('nothing if nothing is left over', async () => {
    expect(await examine()).toEqual([]);
    mkdirSync(path.join(stateDir, 'targets', KEY), { recursive: true });
    expect(await examine()).toEqual([]);
  });

  it.each([
    [90 * 60_000, '90 minutes'],
    [5 * 3_600_000, '5 hours'],
    [72 * 3_600_000, '3 days'],
  ])('a journal, with its target, its age and what to do', async (age, words) => {
    const folder = leaveJournal(KEY, age);
    expect(await examine()).toEqual([
      {
        check: 'left over',
        verdict: 'problem',
        text: `/dev/vg/vm is half-written: an apply to it was cut short ${words} ago; its journal is ${folder}`,
        advice: 'repeat that run, or take the target back: lvmsync recover /dev/vg/vm',
      },
    ]);
  });

  it('a journal in an unusual state directory, for a target that LVM does not show', async () => {
    leaveJournal('file-0123456789abcdef', 0);
    expect(await examine(false)).toMatchObject([
      {
        text: expect.stringMatching(/^an image file \(file-0123456789abcdef\) is half-written/) as string,
        advice: `repeat that run, or take the target back: lvmsync recover --state-dir ${stateDir} TARGET`,
      },
    ]);
  });

  it('a journal of a killed run, which the lock names, even if another process has its number by now', async () => {
    const folder = leaveJournal(KEY, 0);
    const words = `process ${process.pid} (receive /dev/vg/vm), since 2026-01-01T00:00:00.000Z`;
    writeFileSync(path.join(folder, 'lock'), `${words}\n`);
    const [finding] = await examine();
    expect(finding?.text).toContain(`; it was ${words}, and is there no more; its journal`);
  });

  it('but not the journal of a run in progress', async () => {
    const folder = leaveJournal(KEY, 0);
    const holder = { what: 'receive', pid: process.pid, startedAt: now };
    const lock = await lockFolder(folder, 'the target', holder);
    expect(await examine()).toEqual([]);
    await lock.release();
    expect(await examine()).toHaveLength(1);
  });

  it('a journal that cannot be read', async () => {
    const folder = leaveJournal(KEY, 0);
    writeFileSync(path.join(folder, 'apply.json'), '{}');
    expect(await examine()).toMatchObject([
      {
        verdict: 'problem',
        text: expect.stringMatching(/^\/dev\/vg\/vm: .*does not say where the journal/) as string,
      },
    ]);
  });

  it('a target that is half-copied', async () => {
    const folder = path.join(stateDir, 'targets', KEY);
    mkdirSync(folder, { recursive: true });
    writeFileSync(path.join(folder, 'state.json'), '{"is":"copying","identity":"x","from":null,"stamp":""}');
    expect(await examine()).toMatchObject([
      { verdict: 'warning', text: '/dev/vg/vm is half-copied: a full copy to it was cut short' },
    ]);
  });

  it('a view that was only half opened', async () => {
    const entry = await ViewEntry.take('past', 'view open', stateDir, env());
    const parts = { form: 'volume', origin: 'vg/vm', store: 'vg/past', tag: 't' } as const;
    const record = {
      name: 'past',
      target: '/dev/vg/vm',
      realPath: '/dev/dm-0',
      key: KEY,
      state: null,
    } as const;
    await entry.write({ ...record, step: 'opening', purpose: 'view', openedAt: '', parts });
    expect(await examine()).toEqual([]);
    await entry.release();
    expect(await examine()).toMatchObject([
      {
        verdict: 'warning',
        text: 'the view past of /dev/vg/vm was cut short while it was opened',
        advice: 'remove what is left of it: lvmsync view close past',
      },
    ]);
  });

  it('volumes that only a killed run leaves behind', async () => {
    const left = [
      VM,
      { ...VM, lv_full_name: 'vg/new.partial', lv_tags: 'mine,lvmsync.partial' },
      { ...VM, lv_full_name: 'vg/lvmsync-tmp-1', lv_tags: 'lvmsync.temporary' },
    ];
    expect(await examineOurVolumes(left, stateDir)).toMatchObject([
      { verdict: 'warning', text: expect.stringMatching(/^vg\/new\.partial: .* is not whole$/) as string },
      {
        verdict: 'warning',
        text: 'vg/lvmsync-tmp-1: a temporary snapshot of a run that was killed; it takes room in its pool',
        advice: expect.stringMatching(/lvremove vg\/lvmsync-tmp-1$/) as string,
      },
    ]);
    const folder = path.join(stateDir, 'temporary', 'vg', 'lvmsync-tmp-1');
    const lock = await lockFolder(folder, 'x', { what: 'x', pid: process.pid, startedAt: now });
    expect(await examineOurVolumes(left.slice(2), stateDir)).toEqual([]);
    await lock.release();
  });
});

describe('a second state directory', () => {
  it('is reported, with its journals and with the targets that both directories know', async () => {
    const other = path.join(stateDir, 'other');
    mkdirSync(path.join(stateDir, 'targets', KEY), { recursive: true });
    expect(await examineOtherStateDirs([stateDir, other], [VM], env())).toEqual([]);
    mkdirSync(path.join(other, 'targets', 'sdb1'), { recursive: true });
    const apart = await examineOtherStateDirs([stateDir, other], [VM], env());
    expect(apart).toMatchObject([
      { text: expect.stringMatching(/has records too, of other targets/) as string },
    ]);
    leaveJournal(KEY, 0, other);
    expect(await examineOtherStateDirs([stateDir, other], [VM], env())).toMatchObject([
      {
        check: 'other state directory',
        verdict: 'warning',
        text: `this run uses ${stateDir}; ${other} has records too, of the same targets, /dev/vg/vm: neither knows what runs with the other one wrote`,
        advice: expect.stringMatching(/the same XDG_STATE_HOME for your shell, sudo and cron/) as string,
      },
      {
        check: 'left over',
        verdict: 'problem',
        advice: expect.stringContaining(`--state-dir ${other}`) as string,
      },
    ]);
  });
});

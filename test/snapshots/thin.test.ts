import { describe, expect, it } from 'vitest';
import { CommandError, SnapshotError } from '../../src/errors.js';
import type { CommandResult, Spawner } from '../../src/host/spawner.js';
import { readPoolStatus } from '../../src/snapshots/thin-pool.js';
import { findThinVolume } from '../../src/snapshots/thin-volume.js';
import { POOL } from '../support/fake-pool.js';
import { askedFor } from '../support/lvm-words.js';

/** Answers each command by the volume that is asked for, or its last word. */
function answering(answers: Readonly<Record<string, Partial<CommandResult>>>): Spawner {
  return {
    run: (argv) => {
      const answer = answers[askedFor(argv)];
      if (answer === undefined) throw new Error(`${argv.join(' ')}: nobody asks that here`);
      return Promise.resolve({ stdout: '', stderr: '', status: 0, ...answer });
    },
    start: () => {
      throw new Error('nothing is started here');
    },
  };
}

const statusOf = (words: string) =>
  readPoolStatus(answering({ '2': { stdout: `0 131072 ${words}\n` } }), POOL);

describe('a thin pool’s status', () => {
  // As the kernel prints it (Linux 6.1).
  it('shows the held metadata and how full the pool is', async () => {
    expect(
      await statusOf('thin-pool 2 63/512 132/1024 48 rw no_discard_passdown queue_if_no_space - 128 '),
    ).toEqual({
      ...{ heldRoot: 48, used: 132 * 65_536, size: 1024 * 65_536 },
      metadata: { used: 63 * 4096, size: 512 * 4096 },
    });
    expect(
      await statusOf('thin-pool 2 61/512 128/1024 - rw discard_passdown error_if_no_space - 128 '),
    ).toMatchObject({ heldRoot: null });
  });

  it.each([
    [
      'thin-pool 1 61/512 64/64 - out_of_data_space no_discard_passdown error_if_no_space - 128',
      /out of data space/,
    ],
    ['thin-pool 1 61/512 9/64 - ro no_discard_passdown queue_if_no_space - 128', /read-only/],
    ['thin-pool 1 61/512 9/64 - rw no_discard_passdown queue_if_no_space needs_check 128', /needs a check/],
    ['thin-pool Fail', /its metadata failed/],
    ['thin-pool Error', /cannot report its status/],
    ['thin-pool ', /the kernel reports its status as ""/],
    ['error ', /no longer a thin pool/],
  ])('of a pool that is not in order is an error: %s', async (words, message) => {
    const asking = statusOf(words);
    await expect(asking).rejects.toThrow(SnapshotError);
    await expect(asking).rejects.toThrow(/^vg-pool-tpool: the thin pool is not in order: /);
    await expect(asking).rejects.toThrow(message);
  });
});

const row = (facts: object) => ({ stdout: JSON.stringify({ report: [{ lv: [facts] }] }) });
// As LVM 2.03.16 prints it.
const INACTIVE = {
  lv_full_name: 'no-vg/s1',
  vg_name: 'no-vg',
  vg_uuid: 'BXz0kO-6MFh-v4HV-oruc-1p6p-6n3Q-aKDiNS',
  lv_uuid: 'CBwhBX-pScG-2f0u-jOt8-RDf6-3f0x-BKqeEB',
  lv_active: '',
  lv_merging: '',
  lv_attr: 'Vwi-a-tz--',
  lv_size: '16777216',
  pool_lv: 'pool',
  thin_id: '2',
  origin: 'vol',
  lv_ancestors: 'vol',
};
const ORIGIN = { ...INACTIVE, lv_full_name: 'no-vg/vol', thin_id: '1', origin: '', lv_ancestors: '' };

describe('an inactive thin snapshot', () => {
  it('is known only to LVM, under the UUID that it has when it is active', async () => {
    const spawner = answering({ 'no-vg/s1': row(INACTIVE), 'no-vg/vol': row(ORIGIN) });
    expect(await findThinVolume(spawner, 'no-vg/s1')).toEqual({
      name: 'no-vg/s1',
      uuid: 'LVM-BXz0kO6MFhv4HVoruc1p6p6n3QaKDiNSCBwhBXpScG2f0ujOt8RDf63f0xBKqeEB',
      deviceId: 2,
      size: 16_777_216,
      active: null,
      externalOrigin: null,
      lvm: { fullName: 'no-vg/s1', group: 'no-vg', poolName: 'no-vg/pool', origin: 'no-vg/vol' },
    });
  });

  it.each([
    ['is a plain volume', row({ ...ORIGIN, pool_lv: '', thin_id: '' })],
    ['is of another pool', row({ ...ORIGIN, pool_lv: 'other' })],
  ])('has an external origin where its oldest ancestor %s', async (_, ancestor) => {
    const spawner = answering({
      'no-vg/s1': row({ ...INACTIVE, lv_ancestors: 'clone,template' }),
      'no-vg/template': ancestor,
    });
    expect(await findThinVolume(spawner, 'no-vg/s1')).toMatchObject({ externalOrigin: 'some' });
  });

  it('is not read while it is merged', async () => {
    const merging = answering({
      'no-vg/s1': row({ ...INACTIVE, lv_merging: 'merging' }),
      'no-vg/vol': row(ORIGIN),
    });
    await expect(findThinVolume(merging, 'no-vg/s1')).rejects.toThrow(/being merged/);
  });
});

describe('what is not a thin volume', () => {
  it.each([
    ['a classic snapshot', row({ ...INACTIVE, thin_id: '', pool_lv: '' })],
    ['nothing at all', { stdout: JSON.stringify({ report: [{ lv: [] }] }) }],
  ])('is not treated as a thin volume: %s', async (_, answer) => {
    expect(await findThinVolume(answering({ 'no-vg/s1': answer }), 'no-vg/s1')).toBeNull();
  });

  it('is not read from a report in a format that LVM does not print', async () => {
    await expect(
      findThinVolume(answering({ 'no-vg/s1': row({ lv_size: '1' }) }), 'no-vg/s1'),
    ).rejects.toThrow(CommandError);
  });
});

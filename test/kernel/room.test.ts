import { randomBytes } from 'node:crypto';
import { open } from 'node:fs/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { ProcessSpawner } from '../../src/host/spawner.js';
import { FrameWriter } from '../../src/stream/frame-writer.js';
import { Proto3Writer } from '../../src/stream/proto3.js';
import { guardRoom } from '../../src/targets/room.js';
import { targetKeyOf } from '../../src/targets/target-key.js';
import { someHeader } from '../support/scenes/feed.js';
import { collectingSink } from '../support/streams.js';
import { mapDevice, readDirectly, sectorsOf, unmapDevices, waitUntil } from './support/devices.js';
import {
  createSnapshot,
  createVolume,
  digestOf,
  lvmsync,
  mapperName,
  run,
  statusOf,
  tryToRun,
  writeRandom,
} from './support/lab.js';
import { runLvmsync } from './support/outcomes.js';
import { useVolumeGroup } from './support/volume-group.js';

const GROUP = 'vg-room';
const MEBIBYTE = 1024 * 1024;
const spawner = new ProcessSpawner(process.env);

const used: string[] = [];
useVolumeGroup(GROUP);
afterEach(async () => {
  for (const volume of used.splice(0)) await run(['lvremove', '-qq', '-y', `${GROUP}/${volume}`]);
});

/** A volume of 16 MiB that ends, with its snapshots, with the test. */
async function createTarget(): Promise<string> {
  used.push('kept');
  return await createVolume(GROUP, 'kept', '16M');
}

describe('a target without enough space below it is refused', () => {
  const volumeSize = 16 * MEBIBYTE;
  const check = async (path: string, chunks: number, blockSize = 4096) => {
    const { number } = await targetKeyOf(path);
    await guardRoom(
      { path, number },
      { bytes: chunks * blockSize, blockSize, volumeSize },
      { spawner, notice: () => undefined },
    );
  };
  /** As many chunks as pass, told from the room that a refusal names. */
  const mostChunks = async (path: string) => {
    const passes = (chunks: number) =>
      check(path, chunks).then(
        () => true,
        () => false,
      );
    const message = await check(path, 4096).catch(String);
    let chunks = Number(/has (\d+) bytes free/.exec(message ?? '')?.[1]) / 4096;
    while (!(await passes(chunks))) chunks--;
    return chunks;
  };

  it.each([
    [0, 'fresh'],
    [300, 'in use'],
  ])('its own snapshot is too small: to the chunk, with %i exceptions (%s)', async (known) => {
    const volume = await createTarget();
    await createSnapshot(GROUP, 'kept', 'keeps', { size: '4M' });
    const status = () => statusOf(mapperName(GROUP, 'keeps'), 4096);
    await writeChunks(volume, 0, known);
    await expect(check(volume, 4096)).rejects.toThrow(
      /kept: its snapshot vg-room\/keeps has \d+ bytes free and may need \d+: extend it first \(lvextend -L \+\d+m vg-room\/keeps\)/,
    );
    const most = await mostChunks(volume);
    await writeChunks(volume, known, most);
    expect(await status()).toMatchObject({ exceptions: known + most });
    await writeChunks(volume, known + most, 1);
    expect((await status()).words).toBe('Invalid');
    // what is lost needs no room
    await expect(check(volume, 4096)).resolves.toBeUndefined();
  });

  it('but not if its own snapshot is as large as it can ever need', async () => {
    const volume = await createTarget();
    await createSnapshot(GROUP, 'kept', 'keeps', { size: '20M' });
    await expect(check(volume, 1_000_000)).resolves.toBeUndefined();
  });

  it('the target is a snapshot itself, with a small store', async () => {
    await createTarget();
    const path = await createSnapshot(GROUP, 'kept', 'branch', { size: '4M' });
    await expect(check(path, 100)).resolves.toBeUndefined();
    await expect(check(path, 4000)).rejects.toThrow(
      /it is a snapshot, and the store of vg-room\/branch has \d+ bytes free/,
    );
  });

  it('a snapshot is being merged into it', async () => {
    const target = await createTarget();
    const sectors = await sectorsOf(target);
    await run(['dd', 'if=/dev/zero', `of=/dev/ubdb`, 'bs=4096', 'count=1', 'status=none']);
    await mapDevice('store', '0 16384 linear /dev/ubdb 0');
    await mapDevice('merging', `0 ${sectors} snapshot ${target} /dev/mapper/store P 8`);
    await run(['dmsetup', 'remove', 'merging']);
    const merging = await mapDevice('merging', `0 ${sectors} snapshot-merge ${target} /dev/mapper/store P 8`);
    await expect(check(merging, 1)).rejects.toThrow(/a snapshot is being merged into it: wait/);
    await unmapDevices('merging', 'store');
  });

  it('LVM has postponed merging a snapshot into it', async () => {
    const target = await createTarget();
    await createSnapshot(GROUP, 'kept', 'goes', { size: '20M' });
    const held = await open(target, 'r');
    await run(['lvconvert', '-qq', '-y', '--merge', `${GROUP}/goes`]);
    await held.close();
    await expect(check(target, 1)).rejects.toThrow(
      /a snapshot will be merged into it, .* \(lvchange --refresh --poll y vg-room\/kept\), and wait/,
    );
    // A stream of the Ruby tool does not say how much it will write, and another's first table may be empty.
    await expect(check(target, 0)).rejects.toThrow(/a snapshot will be merged into it/);
    const record = Buffer.concat([Buffer.alloc(11), Buffer.from([2]), Buffer.alloc(512, 'x')]);
    const input = Buffer.concat([Buffer.from('lvmsync PROTO[3]\n'), record]);
    const { status, stderr } = await lvmsync(['--apply', '-', target], { input });
    expect([status, stderr]).toEqual([3, expect.stringContaining('a snapshot will be merged into it')]);
    await run(['lvchange', '--refresh', '--poll', 'y', `${GROUP}/kept`]);
    await waitUntil('it is merged', () =>
      check(target, 1).then(
        () => true,
        () => false,
      ),
    );
  });

  it('its thin pool is nearly full, or out of order', async () => {
    const create = [
      '-qq',
      '-y',
      '-L',
      '16M',
      '-c',
      '64k',
      '--poolmetadatasize',
      '2M',
      '--errorwhenfull',
      'y',
      '-Zn',
    ];
    await run(['lvcreate', ...create, '-T', `${GROUP}/pool`]);
    used.push('pool');
    await run(['lvcreate', '-qq', '-y', '-V', '16M', '-n', 'thin', '-T', `${GROUP}/pool`]);
    await run(['lvcreate', '-qq', '-y', '-V', '16M', '-n', 'other', '-T', `${GROUP}/pool`]);
    const thin = `/dev/${GROUP}/thin`;
    await check(thin, 4096);
    await run([
      'dd',
      'if=/dev/zero',
      `of=/dev/${GROUP}/other`,
      'bs=1M',
      'count=12',
      'oflag=direct',
      'status=none',
    ]);
    await check(thin, 64);
    await expect(check(thin, 65)).rejects.toThrow(
      new RegExp(
        `thin: its thin pool vg-room/pool has ${4 * MEBIBYTE} bytes free and may need ${65 * 65536}: ` +
          String.raw`extend it first \(lvextend -L \+1m vg-room/pool\), even if it is extended automatically`,
      ),
    );
    await tryToRun(['dd', 'if=/dev/zero', `of=${thin}`, 'bs=64k', 'count=65', 'oflag=direct', 'status=none']);
    await expect(check(thin, 1)).rejects.toThrow(
      /its thin pool vg-room\/pool is not usable \(the kernel reports ".* out_of_data_space .*"\): repair or extend/,
    );
  });
});

describe('a stream that brings more than it announced', () => {
  const SIZE = 16 * MEBIBYTE;
  const PIECE = 256 * 1024;
  const pieces = Array.from({ length: 24 }, (_, index) => randomBytes(PIECE).fill(index, 0, 1));

  /** As of an origin that was still at the start, and written while it was read. */
  async function inTwoPasses(): Promise<Buffer> {
    const sink = collectingSink();
    const writer = new FrameWriter(sink);
    await writer.start({ ...someHeader(SIZE), base: null, result: null, expectedBytes: 0 });
    await writer.nextPass();
    for (const [index, piece] of pieces.entries()) await writer.data(index * PIECE, piece);
    await writer.finish();
    return sink.bytes();
  }

  async function ofTheRubyTool(): Promise<Buffer> {
    const sink = collectingSink();
    const writer = new Proto3Writer(sink);
    await writer.start();
    for (const [index, piece] of pieces.entries()) await writer.data(index * PIECE, piece);
    await writer.finish();
    return sink.bytes();
  }

  it.each([
    ['in a later pass', inTwoPasses],
    ['as the Ruby tool announces nothing', ofTheRubyTool],
  ])('is stopped before the target’s snapshot fills up: %s', async (_, make) => {
    const target = await createTarget();
    await writeRandom(target, 0, SIZE, 'base');
    const before = await digestOf(target);
    const snapshot = await createSnapshot(GROUP, 'kept', 'keeps', { size: '4M' });
    const stream = await make();
    const { status, stderr } = await lvmsync(['--apply', '-', target], { input: stream });
    expect([status, stderr]).toEqual([
      3,
      expect.stringMatching(/kept: its snapshot vg-room\/keeps has \d+ bytes free/),
    ]);
    expect((await statusOf(mapperName(GROUP, 'keeps'), 4096)).exceptions).toBeGreaterThan(100);
    expect(await digestOf(snapshot)).toBe(before);
    await runLvmsync('recover', target);
    expect(await digestOf(target)).toBe(before);

    await run(['lvextend', '-qq', '-L', '20M', `${GROUP}/keeps`]);
    expect(await lvmsync(['--apply', '-', target], { input: stream })).toMatchObject({ status: 0 });
    expect(await readDirectly(target, 0, pieces.length * PIECE)).toBeBytes(Buffer.concat(pieces));
  });
});

/** Overwrites chunks of 4 KiB, each by a write of its own. */
async function writeChunks(device: string, first: number, count: number): Promise<void> {
  const words = ['bs=4k', `seek=${first}`, `count=${count}`, 'oflag=direct', 'conv=notrunc', 'status=none'];
  await run(['dd', 'if=/dev/zero', `of=${device}`, ...words]);
}

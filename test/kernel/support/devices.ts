import { readdirSync, readFileSync, realpathSync } from 'node:fs';
import { open } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { seededBytes } from './device-bytes.js';
import { run, tryToRun } from './run.js';

/** Copies a whole device over the beginning of another. */
export async function copyDevice(from: string, to: string): Promise<void> {
  await run(['dd', `if=${from}`, `of=${to}`, 'bs=1M', 'conv=notrunc,fsync', 'status=none']);
}

/** Reads past the page cache. Offset and length in bytes, whole sectors. */
export async function readDirectly(device: string, offset: number, length: number): Promise<Buffer> {
  return readWithDd(device, offset, length, 'direct,skip_bytes,count_bytes');
}

/** Reads through the page cache, and fills it. Offset and length in bytes. */
export async function readThroughCache(device: string, offset: number, length: number): Promise<Buffer> {
  return readWithDd(device, offset, length, 'skip_bytes,count_bytes');
}

async function readWithDd(device: string, offset: number, length: number, flags: string): Promise<Buffer> {
  const words = [`if=${device}`, 'bs=1M', `skip=${offset}`, `count=${length}`, `iflag=${flags}`];
  const { status, stdoutBytes, stderr } = await tryToRun(['dd', ...words, 'status=none']);
  if (status !== 0 || stdoutBytes.length !== length) throw new Error(`dd ${words.join(' ')}: ${stderr}`);
  return stdoutBytes;
}

/** Overwrites `count` units of `unit` bytes with new bytes, one every `stride` units, and sees them onto the device. */
export async function scatterWrites(
  device: string,
  { unit, stride, count, seed }: { unit: number; stride: number; count: number; seed: string },
): Promise<void> {
  const file = await open(device, 'r+');
  try {
    for (let i = 0; i < count; i++) {
      await file.write(seededBytes(`${seed} ${i}`, unit), 0, unit, i * stride * unit);
    }
    await file.datasync();
  } finally {
    await file.close();
  }
}

/** Makes a plain device-mapper device, with a table of one or more lines, and returns its path. */
export async function mapDevice(name: string, table: string): Promise<string> {
  await run(['dmsetup', 'create', name], { input: table });
  return `/dev/mapper/${name}`;
}

/** Removes plain device-mapper devices, those on top first. */
export async function unmapDevices(...names: readonly string[]): Promise<void> {
  for (const name of names) await run(['dmsetup', 'remove', '--retry', name]);
}

/** Gives a mapped device another table; what it has under way ends first. */
export async function remapDevice(name: string, table: string): Promise<void> {
  await run(['dmsetup', 'suspend', '--nolockfs', '--noflush', name]);
  await run(['dmsetup', 'load', name], { input: table });
  await run(['dmsetup', 'resume', name]);
}

/** Size in sectors of 512 bytes, as tables have it. */
export async function sectorsOf(device: string): Promise<number> {
  return Number(await run(['blockdev', '--getsz', device]));
}

/** Resolves when something was written to a device since it was made. */
export async function waitForWrites(device: string, atLeast = 1): Promise<void> {
  const writes = writeCounter(device);
  await waitUntil(`${device} is written`, () => writes() >= atLeast);
}

/** Resolves when the condition holds; rejects after five minutes: a busy machine is slow. */
export async function waitUntil(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 300_000; Date.now() < end;) {
    if (await holds()) return;
    await sleep(20);
  }
  throw new Error(`waited in vain until ${what}`);
}

/** Tells, each time it is called, how many writes a device has completed since it was made. */
export function writeCounter(device: string): () => number {
  const statistics = `/sys/class/block/${path.basename(realNodeOf(device))}/stat`;
  return () => Number(readFileSync(statistics, 'utf8').trim().split(/\s+/)[4]);
}

/** The node that is named as the kernel names the device: without udev, /dev/mapper has nodes instead of links. */
export function realNodeOf(device: string): string {
  const node = realpathSync(device);
  if (!node.startsWith('/dev/mapper/')) return node;
  const name = path.basename(node);
  const kernelName = readdirSync('/sys/class/block').find((each) => dmNameOf(each) === name);
  if (kernelName === undefined) throw new Error(`${device}: no such device-mapper device`);
  return `/dev/${kernelName}`;
}

function dmNameOf(kernelName: string): string | null {
  if (!kernelName.startsWith('dm-')) return null;
  return readFileSync(`/sys/class/block/${kernelName}/dm/name`, 'utf8').trim();
}

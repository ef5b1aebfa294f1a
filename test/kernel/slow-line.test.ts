import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { copyDevice } from './support/devices.js';
import { createSnapshot, createVolume, digestOf, writeBytes, writeRandom } from './support/lab.js';
import { reportOf } from './support/outcomes.js';
import { startTwoHosts, type TwoHosts } from './support/two-hosts.js';
import { useVolumeGroup } from './support/volume-group.js';

const GROUP = 'vg-line';
const SNAPSHOT = `${GROUP}/snap`;
const MIB = 2 ** 20;
const CHUNK = 65_536;
/** Every other chunk, so that there are many blocks. */
const CHUNKS = 48;
const CHANGED_BYTES = CHUNKS * CHUNK;
const LIMIT = 600_000;

let hosts: TwoHosts;
let target = '';
let changed = '';

useVolumeGroup(GROUP);
beforeAll(async () => {
  hosts = await startTwoHosts();
  const origin = await createVolume(GROUP, 'origin', '8M');
  target = await createVolume(GROUP, 'target', '8M');
  await writeRandom(origin, 0, 8 * MIB, 'base');
  await createSnapshot(GROUP, 'origin', 'snap', { size: '10M', chunkSize: '64k', permission: 'r' });
  const text = textOf(CHANGED_BYTES);
  for (let n = 0; n < CHUNKS; n++) {
    await writeBytes(origin, (2 * n + 1) * CHUNK, text.subarray(n * CHUNK, (n + 1) * CHUNK));
  }
  changed = await digestOf(origin);
});
afterAll(() => hosts.stop());
beforeEach(() => copyDevice(`/dev/${SNAPSHOT}`, target));

describe('over a line between two hosts', () => {
  it('--bwlimit is kept within a tenth, as the network card counts it, over any two seconds', async () => {
    const samples: { ms: number; bytes: number }[] = [];
    const sampling = setInterval(() => {
      const [ms, bytes] = [performance.now(), sentOverTheLine()];
      // a moment that the process lost in between would count as a faster line
      if (performance.now() - ms < 10) samples.push({ ms, bytes });
    }, 100);
    const limited = ['--bwlimit', '600KB', '--codec', 'none'];
    const report = await reportOf(...limited, SNAPSHOT, `far:${target}`).finally(() => {
      clearInterval(sampling);
    });
    expect(await digestOf(target)).toBe(changed);
    expect(report['sentBytes']).toBeGreaterThan(CHANGED_BYTES);

    const rates = ratesOver(2000, samples);
    expect(Math.max(...rates) / LIMIT).toBeLessThan(1.1);
    // Start and end of the program are no transfer: in the middle it used what it had.
    const busy = rates.filter((rate) => rate > LIMIT / 2);
    expect(busy.length).toBeGreaterThan(5);
    expect(Math.max(...rates) / LIMIT).toBeGreaterThan(0.9);
  });

  it('a transfer compresses by itself if the line is slow, and leaves the same target', async () => {
    const report = await reportOf('--bwlimit', '600KB', SNAPSHOT, `far:${target}`);
    expect(await digestOf(target)).toBe(changed);
    expect(report).toMatchObject({ changedBytes: CHANGED_BYTES, codec: 'zstd' });
    expect(report['sentBytes']).toBeLessThan(0.8 * CHANGED_BYTES);
  });

  it('--codec compresses from the first block on', async () => {
    const report = await reportOf('--codec', 'brotli', SNAPSHOT, `far:${target}`);
    expect(await digestOf(target)).toBe(changed);
    expect(report).toMatchObject({ changedBytes: CHANGED_BYTES, codec: 'brotli' });
    expect(report['sentBytes']).toBeLessThan(0.5 * CHANGED_BYTES);
  });
});

/** Lines as a log has them, which no codec makes much less than a fifth of. */
function textOf(length: number): Buffer {
  const lines: string[] = [];
  for (let n = 0, state = 1; lines.length * 64 < length; n++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    lines.push(`entry ${n} request ${state.toString(36)} took ${state % 977} ms`.padEnd(63).concat('\n'));
  }
  return Buffer.from(lines.join('').slice(0, length));
}

function sentOverTheLine(): number {
  return Number(readFileSync('/sys/class/net/to-far/statistics/tx_bytes', 'latin1'));
}

/** Bytes a second over each stretch of so many milliseconds, or a little more. */
function ratesOver(milliseconds: number, samples: readonly { ms: number; bytes: number }[]): number[] {
  return samples.flatMap((start) => {
    const end = samples.find(({ ms }) => ms >= start.ms + milliseconds);
    return end === undefined ? [] : [((end.bytes - start.bytes) * 1000) / (end.ms - start.ms)];
  });
}

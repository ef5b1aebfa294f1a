import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DmTarget } from '../../src/lvm/device-mapper.js';
import { countChunks, judgePool, judgeStore, lvmNameOf } from '../../src/targets/room-needed.js';

/* That the numbers are the kernel's own, to the chunk, is shown in test/kernel/room.test.ts. */

/** A line of device-mapper's, as dmsetup prints it. */
function line(text: string): DmTarget {
  const [start, sectors, type = '', ...words] = text.split(' ');
  return { startSector: Number(start), sectors: Number(sectors), type, words };
}

describe('chunks that a stream touches', () => {
  const size = fc.integer({ min: 9, max: 20 }).map((power) => 2 ** power);

  it('are never more than what is expected', () => {
    const places = fc.uniqueArray(fc.integer({ min: 0, max: 200 }), { minLength: 1, maxLength: 30 });
    const anyChunk = fc.oneof(
      size,
      fc.integer({ min: 1, max: 20 }).map((times) => times * 65_536),
    );
    fc.assert(
      fc.property(size, anyChunk, places, (blockSize, chunkSize, blocks) => {
        const touched = new Set<number>();
        for (const block of blocks) {
          const first = Math.floor((block * blockSize) / chunkSize);
          const last = Math.floor(((block + 1) * blockSize - 1) / chunkSize);
          for (let chunk = first; chunk <= last; chunk++) touched.add(chunk);
        }
        const expected = { bytes: blocks.length * blockSize, blockSize, volumeSize: 201 * blockSize };
        expect(countChunks(expected, chunkSize)).toBeGreaterThanOrEqual(touched.size);
      }),
    );
  });

  it('are one for each block if chunks are larger, several if they are smaller, and at most those of the volume', () => {
    const expected = { bytes: 10 * 65_536, blockSize: 65_536, volumeSize: 2 ** 30 };
    expect(countChunks(expected, 4096)).toBe(160);
    expect(countChunks(expected, 524_288)).toBe(10);
    expect(countChunks({ ...expected, bytes: 2 ** 40 }, 524_288)).toBe(2048);
  });
});

describe('a store', () => {
  const table = line('0 131072 snapshot 254:1 254:2 P 8');
  const writes = (chunks: number) => ({ bytes: chunks * 4096, blockSize: 4096, volumeSize: 67_108_864 });
  const judge = (status: string, chunks: number) =>
    judgeStore('vg-snap', table, line(`0 131072 snapshot ${status}`), writes(chunks));

  it('accepts what fits beside its tables', () => {
    // 1,024 chunks: the header, tables at 1, 258, 515 and 772, and 1,019 chunks of data
    expect(judge('16/8192 16', 1019)).toBeNull();
    expect(judge('16/8192 16', 1020)).toBe(
      'vg/snap has 4186112 bytes free and may need 4190208: extend it first (lvextend -L +1m vg/snap)',
    );
  });

  it('needs space only for what it does not hold yet', () => {
    // 16,383 of the volume's 16,384 chunks are known, in 64 tables
    expect(judge(`${(16_383 + 65) * 8}/131600 520`, 5000)).toBeNull();
    expect(judge(`${(16_383 + 65) * 8}/131584 520`, 5000)).toMatch(/has 0 bytes free and may need 8192/);
  });

  it.each(['Invalid', 'Overflow', 'Merge failed', ''])(
    'is out of order when the kernel says "%s"',
    (word) => {
      expect(judge(word, 1)).toBe(`vg/snap is not usable (the kernel reports "${word}"): remove it first`);
    },
  );
});

describe('a thin pool', () => {
  const table = line('0 32768 thin-pool 254:3 254:4 128 0 1 skip_block_zeroing');
  const judge = (status: string, chunks: number) =>
    judgePool('vg--a-pool-tpool', table, line(`0 32768 thin-pool ${status}`), {
      bytes: chunks * 65_536,
      blockSize: 65_536,
      volumeSize: 2 ** 40,
    });
  const rest = '- rw no_discard_passdown queue_if_no_space - 1024';

  it('accepts what it has blocks for, of data and of metadata', () => {
    expect(judge(`1 14/512 192/256 ${rest}`, 64)).toBeNull();
    expect(judge(`1 14/512 192/256 ${rest}`, 65)).toMatch(
      /^vg-a\/pool has 4194304 bytes free and may need 4259840: .*\(lvextend -L \+1m vg-a\/pool\), even if/,
    );
    expect(judge(`1 511/512 192/2560 ${rest}`, 127)).toMatch(
      /has 4096 bytes of metadata space free and may need 8192: .*lvextend --poolmetadatasize \+1m vg-a\/pool/,
    );
  });

  it.each([
    '1 14/512 256/256 - out_of_data_space no_discard_passdown queue_if_no_space - 1024',
    '1 14/512 1/256 - ro no_discard_passdown queue_if_no_space - 1024',
    '1 14/512 1/256 - rw no_discard_passdown queue_if_no_space needs_check 1024',
    'Fail',
  ])('is out of order when the kernel says "%s"', (status) => {
    expect(judge(status, 1)).toMatch(/^vg-a\/pool is not usable \(the kernel reports/);
  });
});

it('an LVM name is found from its device-mapper name', () => {
  expect(lvmNameOf('vg-snap')).toBe('vg/snap');
  expect(lvmNameOf('my--vg-a--b-tpool')).toBe('my-vg/a-b');
  expect(lvmNameOf('plain')).toBeNull();
});

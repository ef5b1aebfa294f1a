import fc from 'fast-check';
import { expect, it } from 'vitest';
import { FreshDevice } from '../../src/targets/fresh-device.js';
import { MemoryDevice } from '../support/memory-device.js';

const SIZE = 64;
const range = fc
  .tuple(fc.nat(SIZE - 1), fc.integer({ min: 1, max: SIZE }))
  .map(([offset, length]) => ({ offset, length: Math.min(length, SIZE - offset) }));
const step = fc.record({ kind: fc.constantFrom('write', 'pieces', 'zero', 'discard'), range });

function fresh(readsAsZeroes: boolean, contents: number | Uint8Array = SIZE) {
  const memory = new MemoryDevice(contents);
  return { memory, device: new FreshDevice(Object.assign(memory, { number: null }), readsAsZeroes) };
}

it('a fresh device holds the same as a device to which everything is written, in whatever order', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
      const { memory, device } = fresh(true);
      const expected = Buffer.alloc(SIZE);
      for (const [index, { kind, range }] of steps.entries()) {
        const { offset, length } = range;
        const bytes = Buffer.alloc(length, index + 1);
        if (kind === 'write') await device.writeAt(bytes, offset);
        else if (kind === 'pieces')
          await device.writePiecesAt([bytes.subarray(0, 1), bytes.subarray(1)], offset);
        else await device[kind](offset, length);
        expected.fill(kind === 'write' || kind === 'pieces' ? index + 1 : 0, offset, offset + length);
      }
      expect(memory.bytes).toBeBytes(expected);
    }),
  );
});

it('a fresh device gets no zeroes after everything that was written if it surely reads as zeroes', async () => {
  const { memory, device } = fresh(true);
  await device.zero(0, 8);
  await device.discard(8, 8);
  expect(device.hasWritten).toBe(false);
  await device.writeAt(Buffer.alloc(8, 1), 16);
  await device.zero(24, 40);
  expect([memory.calls, device.hasWritten]).toEqual([['write 16+8'], true]);
});

it('a device that may hold anything gets every zero', async () => {
  const { memory, device } = fresh(false, Buffer.alloc(SIZE, 7));
  await device.zero(0, 32);
  await device.discard(32, 32);
  expect(memory.bytes).toBeBytes(Buffer.alloc(SIZE));
  expect(device.hasWritten).toBe(true);
});

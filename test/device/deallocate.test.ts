import { describe, expect, it } from 'vitest';
import { zeroLeftOvers } from '../../src/device/allocation.js';
import { MemoryDevice } from '../support/memory-device.js';

const MIB = 1024 * 1024;

describe('a discarded range', () => {
  it('is read afterwards: bytes that the device kept are overwritten, and nothing around the range', async () => {
    const device = new MemoryDevice(Buffer.alloc(4 * MIB, 'x'));
    device.bytes.fill(0, 512, 2 * MIB);
    device.bytes.write('kept', MIB + 4096);
    await zeroLeftOvers(device, { offset: 512, length: 3 * MIB });
    expect(device.bytes.subarray(512, 512 + 3 * MIB)).toBeBytes(Buffer.alloc(3 * MIB));
    expect(device.bytes.subarray(0, 512)).toBeBytes(Buffer.alloc(512, 'x'));
    expect(device.bytes.subarray(3 * MIB + 512)).toBeBytes(Buffer.alloc(MIB - 512, 'x'));
    expect(device.calls.filter((call) => call.startsWith('write'))).toEqual([
      `write ${MIB}+${MIB}`,
      `write ${2 * MIB}+${MIB}`,
      `write ${3 * MIB}+512`,
    ]);
  });
});

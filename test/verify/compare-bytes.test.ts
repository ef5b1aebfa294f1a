import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { endOf, type Extent } from '../../src/bytes/extent.js';
import { DeviceError, InterruptedError, UnsafeTargetError } from '../../src/errors.js';
import { answerQueries } from '../../src/verify/answer-queries.js';
import { compareBytes } from '../../src/verify/compare-bytes.js';
import { runHashExchange } from '../../src/verify/hash-exchange.js';
import { startLocalFarSide } from '../../src/reach/local-far-side.js';
import { MemoryDevice } from '../support/memory-device.js';
import { pool } from '../support/streams.js';
import { quietSurroundings } from '../support/surroundings.js';

const MIB = 1024 * 1024;
const SIZE = 3 * MIB + 512 * 7;

function volume(size = SIZE): MemoryDevice {
  const bytes = Buffer.alloc(size);
  for (let at = 0; at < size; at += 512) bytes.fill(`${at} `, at, Math.min(at + 512, size));
  return new MemoryDevice(bytes, '/dev/near');
}

function request(near: MemoryDevice, extents: readonly Extent[], unit: number) {
  return { near, extents: () => extents, unit, checkFarSize: () => undefined };
}

const whole = [{ offset: 0, length: SIZE }];

describe('a comparison of two devices of this host', () => {
  it('finds what a comparison by digests finds, whatever differs and wherever it is compared', async () => {
    const sectors = Math.ceil(SIZE / 512);
    const places = fc.uniqueArray(fc.nat(SIZE - 1), { maxLength: 6 });
    const cuts = fc.uniqueArray(fc.nat(sectors), { minLength: 2, maxLength: 8 });
    const units = fc.constantFrom(512, 4096, 65_536, 256 * 1024);
    await fc.assert(
      fc.asyncProperty(places, cuts, units, async (differing, ends, unit) => {
        const [near, far] = [volume(), volume()];
        for (const place of differing) far.bytes[place] = (far.bytes[place] ?? 0) ^ 1;
        const sorted = [...ends].sort((a, b) => a - b).map((sector) => Math.min(sector * 512, SIZE));
        const extents: Extent[] = [];
        for (let cut = 0; cut + 1 < sorted.length; cut += 2) {
          const [offset = 0, end = 0] = sorted.slice(cut);
          if (end > offset) extents.push({ offset, length: end - offset });
        }
        const env = quietSurroundings();
        const found = await compareBytes(request(near, extents, unit), far, env);
        const { far: side } = startLocalFarSide((line) =>
          answerQueries(line, () => Promise.resolve(far), env, pool()),
        );
        const expected = await runHashExchange(side, request(near, extents, unit), env);
        expect([...found.differing.extents()]).toEqual([...expected.differing.extents()]);
        expect(found.comparedBytes).toBe(expected.comparedBytes);
        const inside = differing.some((place) =>
          extents.some((each) => place >= each.offset && place < endOf(each)),
        );
        expect(found.differing.chunks.count > 0).toBe(inside);
      }),
      { numRuns: 60 },
    );
  });

  it('sees what was written past the page cache, and tells how far it is', async () => {
    const far = volume();
    const steps: number[] = [];
    const progress = {
      start: (bytes: number) => steps.push(bytes),
      advance: (bytes: number) => steps.push(-bytes),
      stop: () => undefined,
    };
    await compareBytes(request(volume(), whole, 4096), far, { ...quietSurroundings(), progress });
    expect(far.calls[0]).toBe('refresh');
    expect(steps[0]).toBe(SIZE);
    expect(steps.reduce((sum, each) => sum + each, 0)).toBe(0);
  });

  it('reads nothing of a device that is too small', async () => {
    const far = volume();
    const checkFarSize = (size: number) => {
      throw new UnsafeTargetError('far', `only ${size} bytes`);
    };
    const compared = compareBytes(
      { ...request(volume(), whole, 4096), checkFarSize },
      far,
      quietSurroundings(),
    );
    await expect(compared).rejects.toThrow(`only ${SIZE} bytes`);
    expect(far.calls.filter((call) => call.startsWith('read'))).toEqual([]);
  });

  it.each(['near', 'far'] as const)('names the device that cannot be read: %s', async (broken) => {
    const faults = { badByte: 2 * MIB + 5 };
    const [near, far] = [
      new MemoryDevice(volume().bytes, '/dev/near', broken === 'near' ? faults : {}),
      new MemoryDevice(volume().bytes, '/dev/far', broken === 'far' ? faults : {}),
    ];
    const compared = compareBytes(request(near, whole, 4096), far, quietSurroundings());
    await expect(compared).rejects.toThrow(DeviceError);
    await expect(compared).rejects.toMatchObject({ path: `/dev/${broken}` });
  });

  it('ends when it is interrupted', async () => {
    const stop = new AbortController();
    stop.abort(new InterruptedError('SIGINT'));
    const env = { ...quietSurroundings(), signal: stop.signal };
    await expect(compareBytes(request(volume(), whole, 4096), volume(), env)).rejects.toThrow(
      InterruptedError,
    );
  });
});

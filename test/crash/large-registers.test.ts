import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bootGuest, type GuestResult } from '../support/guest/boot-guest.js';
import { compileLibrary, prepareKernel, prepareShim } from '../support/guest/guest-kernel.js';

let folder = '';
let largeRegisters = '';
beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'lvmsync-registers-'));
  largeRegisters = path.join(folder, 'large-registers.so');
  await compileLibrary(path.join(import.meta.dirname, 'large-registers.c'), largeRegisters);
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

async function bootWith(...libraries: string[]): Promise<GuestResult> {
  const kernel = await prepareKernel('own');
  const command = ['node', '-p', 'Math.sqrt(2)'] as const;
  return bootGuest({ kernel: { ...kernel, preload: libraries.join(':') }, command, timeoutSeconds: 120 });
}

describe('the kernel of this system, on a processor with registers as large as with AMX', () => {
  it('dies without the shim: what this test makes of the processor is what real ones do', async () => {
    expect((await bootWith(largeRegisters)).ended).toBe('died');
  });

  it('boots with it, and computes', async () => {
    const { ended, stdout } = await bootWith(await prepareShim(), largeRegisters);
    expect({ ended, stdout }).toEqual({ ended: 'finished', stdout: `${Math.SQRT2}\n` });
  });
});

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bootGuest } from '../support/guest/boot-guest.js';
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

describe('the kernel of this system, on a processor with registers as large as with AMX', () => {
  it('boots with the shim, and computes correctly', async () => {
    const preload = [await prepareShim(), largeRegisters].join(':');
    const { ended, stdout } = await bootGuest({
      kernel: { ...(await prepareKernel('own')), preload },
      command: ['node', '-p', 'Math.sqrt(2)'],
    });
    expect({ ended, stdout }).toEqual({ ended: 'finished', stdout: `${Math.SQRT2}\n` });
  });
});

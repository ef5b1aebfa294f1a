import { describe, expect, it } from 'vitest';
import { CommandError, FormatError, InterruptedError } from '../../src/errors.js';
import { readOutput } from '../../src/host/read-output.js';
import { quietSurroundings } from '../support/surroundings.js';

const env = quietSurroundings();

/** Runs a script of Node's and returns what it printed. */
async function outputOf(script: string, surroundings = env): Promise<string> {
  let text = '';
  await readOutput([process.execPath, '-e', script], 'Node', surroundings, async (output) => {
    for await (const piece of output) text += Buffer.from(piece).toString();
  });
  return text;
}

describe('a program whose output is read as it comes', () => {
  it('is read to its end, more than any pipe holds', async () => {
    expect(await outputOf("process.stdout.write('x'.repeat(3e6))")).toHaveLength(3e6);
  });

  it('fails with its own words, though its output was read', async () => {
    const failing = outputOf("console.log('half'); console.error('bad luck'); process.exitCode = 3");
    await expect(failing).rejects.toThrow(CommandError);
    await expect(failing).rejects.toThrow(/it failed \(status 3\): bad luck$/);
    await expect(outputOf("process.kill(process.pid, 'SIGKILL')")).rejects.toThrow(/it was killed/);
  });

  it('that is not there is named with what it comes with', async () => {
    const seen: Uint8Array[] = [];
    const reading = readOutput(['thin_nothing', '-m'], 'some-package', env, async (output) => {
      for await (const piece of output) seen.push(piece);
    });
    await expect(reading).rejects.toThrow(CommandError);
    await expect(reading).rejects.toThrow(/thin_nothing -m: not installed: it comes with some-package/);
    expect(seen).toEqual([]);
  });

  it('is ended where its output makes no sense, which is then the error', async () => {
    const nonsense = new FormatError('output', 0, 'line', 'nonsense');
    const endless = "setInterval(() => process.stdout.write('x'.repeat(65536)), 1)";
    const reading = readOutput([process.execPath, '-e', endless], 'Node', env, async (output) => {
      for await (const piece of output) if (piece.length > 0) throw nonsense;
    });
    await expect(reading).rejects.toBe(nonsense);
  });

  it('is ended when the run is interrupted, and not begun after', async () => {
    const stop = new AbortController();
    const reason = new InterruptedError('SIGTERM');
    setTimeout(() => {
      stop.abort(reason);
    }, 300);
    const surroundings = { ...env, signal: stop.signal };
    await expect(outputOf('setInterval(() => undefined, 1000)', surroundings)).rejects.toBe(reason);
    await expect(outputOf("console.log('never')", surroundings)).rejects.toBe(reason);
  });
});

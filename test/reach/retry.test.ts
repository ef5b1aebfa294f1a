import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { FarError, FarSideError, InterruptedError, LineError, TransportError } from '../../src/errors.js';
import { withRetries } from '../../src/reach/retry.js';
import { SenderRun } from '../../src/session/sender.js';
import { quietSurroundings } from '../support/surroundings.js';

const broken = () => new LineError('far: the line broke');

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** Runs attempts that fail so, and then succeed; tells how many there were, and what was said. */
async function tryAll(
  failures: readonly (Error | { readonly after: Error })[],
  { retries = 5, hasBegun = true, signal = new AbortController().signal } = {},
) {
  const run = new SenderRun();
  run.hasBegun = hasBegun;
  const env = { ...quietSurroundings(), signal };
  let attempts = 0;
  const trying = withRetries(retries, run, env, () => {
    const failure = failures[attempts++];
    if (failure === undefined) return Promise.resolve('done');
    if (failure instanceof Error) return Promise.reject(failure);
    run.checkpoints += 1;
    return Promise.reject(failure.after);
  });
  const outcome = trying.catch((error: unknown) => error);
  await vi.runAllTimersAsync();
  return { outcome: await outcome, attempts, notices: env.notices };
}

describe('a line that breaks', () => {
  it('is replaced after pauses that grow, each said in one line', async () => {
    const { outcome, notices } = await tryAll([broken(), broken(), broken(), broken(), broken()]);
    expect(outcome).toBe('done');
    expect(notices).toEqual([
      'far: the line broke; trying again in 1 s (1 of 5)',
      'far: the line broke; trying again in 4 s (2 of 5)',
      'far: the line broke; trying again in 16 s (3 of 5)',
      'far: the line broke; trying again in 60 s (4 of 5)',
      'far: the line broke; trying again in 60 s (5 of 5)',
    ]);
  });

  it('so often ends the run, with the last error', async () => {
    const last = new LineError('the last');
    expect(await tryAll([broken(), broken(), last], { retries: 2 })).toMatchObject({
      outcome: last,
      attempts: 3,
    });
  });

  it('is never replaced if that is not wanted', async () => {
    expect((await tryAll([broken()], { retries: 0 })).attempts).toBe(1);
  });

  it('starts the count again if something came across in between', async () => {
    const failures = [broken(), broken(), { after: broken() }, broken()];
    const { outcome, notices } = await tryAll(failures, { retries: 2 });
    expect(outcome).toBe('done');
    expect(notices.at(-2)).toMatch(/in 1 s \(1 of 2\)/);
  });
});

describe('what is not a broken line is not tried again', () => {
  it.each([
    ['a refusal', new FarError('UNSAFE_TARGET', 'far', 'mounted')],
    ['a lock', new FarError('LOCKED', 'far', 'locked')],
    ['a receiver that failed', new FarError('TRANSPORT', 'far', 'internal fault')],
    ['a login that is refused', new TransportError('far: no key was accepted')],
    ['a far side that was ended', new TransportError('far: ended by SIGKILL')],
    ['a far side without lvmsync', new FarSideError('far: not found')],
    ['an interruption', new InterruptedError('SIGINT')],
    ['a fault of ours', new Error('bug')],
  ])('%s', async (_name, error) => {
    expect(await tryAll([error])).toMatchObject({ outcome: error, attempts: 1, notices: [] });
  });

  it('nor is a line that breaks before anything began', async () => {
    expect(await tryAll([broken()], { hasBegun: false })).toMatchObject({ attempts: 1 });
  });
});

it('a signal ends the pause at once', async () => {
  vi.useRealTimers();
  const stop = new AbortController();
  const run = new SenderRun();
  run.hasBegun = true;
  const env = { ...quietSurroundings(), signal: stop.signal };
  let attempts = 0;
  const trying = withRetries(9, run, env, () => {
    attempts += 1;
    return Promise.reject(broken());
  });
  setTimeout(() => {
    stop.abort(new InterruptedError('SIGTERM'));
  }, 20);
  await expect(trying).rejects.toMatchObject({ code: 'INTERRUPTED' });
  expect(attempts).toBe(1);
});

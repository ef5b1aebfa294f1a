import { defineConfig } from 'vitest/config';

/** What every test file may use beside vitest's own. */
const setupFiles = ['test/support/suite/byte-matcher.ts'];

export default defineConfig({
  test: {
    // by default one processor is left idle, which is half of a small machine; and many tests wait for something
    maxWorkers: '150%',
    projects: [
      {
        test: {
          name: 'unit',
          setupFiles,
          include: ['test/**/*.test.ts'],
          exclude: ['test/kernel/**', 'test/crash/**', 'test/**/*.{exhaustive,mocked}.test.ts'],
          // a process for each file, and all modules anew in it, took half of the time: what a test changes, it puts back
          isolate: false,
          // none takes long, but a busy machine may be slow
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        // Unit tests that put a module of their own in place of Node's: each in a process of its own.
        test: {
          name: 'unit-mocked',
          setupFiles,
          include: ['test/**/*.mocked.test.ts'],
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        // Every cut, every bit, the whole demo: too long for `npm run check`.
        test: {
          name: 'exhaustive',
          setupFiles,
          include: ['test/**/*.exhaustive.test.ts'],
          testTimeout: 600_000,
          hookTimeout: 120_000,
        },
      },
      {
        // Runs inside the kernel guest only: see test/support/guest.
        test: {
          name: 'kernel',
          setupFiles,
          include: ['test/kernel/**/*.test.ts'],
          // the guest has one processor, and processes are dear there
          fileParallelism: false,
          isolate: false,
          testTimeout: 600_000,
          hookTimeout: 600_000,
        },
      },
      {
        // Runs on the host and boots guests itself, to pull their plug.
        test: {
          name: 'crash',
          setupFiles,
          include: ['test/crash/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 600_000,
          hookTimeout: 600_000,
        },
      },
    ],
  },
});

import { expect } from 'vitest';

/** How many bytes are shown before the first difference, and how many from it on. */
const BEFORE = 8;
const FROM = 16;

declare module 'vitest' {
  interface Matchers<T> {
    /** The same bytes. Where they differ, it shows the first difference instead of both sides. */
    toBeBytes(expected: Uint8Array | undefined): void;
  }
}

expect.extend({
  toBeBytes(received: unknown, expected: unknown) {
    // thrown, as it must fail with .not too
    if (!(received instanceof Uint8Array)) throw new TypeError(`received ${String(received)} for bytes`);
    if (!(expected instanceof Uint8Array)) throw new TypeError(`expected ${String(expected)} for bytes`);
    const pass = Buffer.compare(received, expected) === 0;
    const message = () =>
      pass
        ? `expected other bytes than these ${expected.length}`
        : describeDifference(received, expected).join('\n');
    return { pass, message };
  },
});

/** Where two runs of bytes differ first, as lines. */
function describeDifference(received: Uint8Array, expected: Uint8Array): readonly string[] {
  const at = firstDifference(received, expected);
  return [
    `the bytes differ first at offset ${at} (0x${at.toString(16)}):`,
    `  expected ${bytesAround(expected, at)} (of ${expected.length} bytes)`,
    `  received ${bytesAround(received, at)} (of ${received.length} bytes)`,
  ];
}

function firstDifference(one: Uint8Array, other: Uint8Array): number {
  const shared = Math.min(one.length, other.length);
  let at = 0;
  while (at < shared && one[at] === other[at]) at += 1;
  return at;
}

/** In hexadecimal; a bar stands where the difference begins, dots where something was left out. */
function bytesAround(bytes: Uint8Array, at: number): string {
  const hexOf = (from: number, to: number) =>
    Array.from(bytes.subarray(from, to), (byte) => byte.toString(16).padStart(2, '0'));
  const before = hexOf(Math.max(0, at - BEFORE), at);
  const after = hexOf(at, at + FROM);
  return [
    ...(at > BEFORE ? ['…'] : []),
    ...before,
    '|',
    ...after,
    ...(at + FROM < bytes.length ? ['…'] : []),
  ].join(' ');
}

import { describe, expect, it } from 'vitest';

const a = Buffer.from('a');

describe('toBeBytes', () => {
  it('shows the first difference, what is around it, and how long both sides are', () => {
    const expected = Buffer.alloc(100_000_000, 1);
    const received = Buffer.from(expected);
    received.fill(0xff, 50_000_000, 50_000_002);
    expect(failureOf(received, expected).split('\n')).toEqual([
      'the bytes differ first at offset 50000000 (0x2faf080):',
      '  expected … 01 01 01 01 01 01 01 01 | 01 01 01 01 01 01 01 01 01 01 01 01 01 01 01 01 … (of 100000000 bytes)',
      '  received … 01 01 01 01 01 01 01 01 | ff ff 01 01 01 01 01 01 01 01 01 01 01 01 01 01 … (of 100000000 bytes)',
    ]);
  });

  it.each([
    ['cut short', 'abc', 'abcd', '61 62 63 | (of 3 bytes)', '61 62 63 | 64 (of 4 bytes)'],
    ['too long', 'abcd', 'abc', '61 62 63 | 64 (of 4 bytes)', '61 62 63 | (of 3 bytes)'],
    ['empty', '', 'a', '| (of 0 bytes)', '| 61 (of 1 bytes)'],
  ])('shows where bytes end that are %s', (_what, received, expected, right, left) => {
    const failure = failureOf(Buffer.from(received), Buffer.from(expected));
    expect(failure).toContain(`\n  expected ${left}\n  received ${right}`);
  });

  it('fails with the message of the expectation first', () => {
    expect(failureOf(a, Buffer.from('b'), 'after the copy')).toMatch(
      /^after the copy: the bytes differ first/,
    );
  });

  it('takes equal bytes of any kind, and with .not only different ones', () => {
    expect(new Uint8Array([97])).toBeBytes(a);
    expect(a).not.toBeBytes(Buffer.from('b'));
    expect(failureOfNot(a, Buffer.from('a'))).toBe('expected other bytes than these 1');
  });

  it.each([
    ['received a promise', Promise.resolve(a), a, 'received [object Promise] for bytes'],
    ['received text', 'a', a, 'received a for bytes'],
    ['expects nothing', a, undefined, 'expected undefined for bytes'],
  ])('fails, with .not too, if it %s', (_what, received, expected, failure) => {
    expect([failureOf(received, expected), failureOfNot(received, expected)]).toEqual([failure, failure]);
  });
});

function failureOf(received: unknown, expected: Uint8Array | undefined, message = ''): string {
  return messageOf(() => {
    expect(received, message).toBeBytes(expected);
  });
}

function failureOfNot(received: unknown, expected: Uint8Array | undefined): string {
  return messageOf(() => {
    expect(received).not.toBeBytes(expected);
  });
}

function messageOf(check: () => void): string {
  try {
    check();
  } catch (error) {
    return (error as Error).message;
  }
  return 'no failure';
}

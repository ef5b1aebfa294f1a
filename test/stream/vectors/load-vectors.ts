import { readFileSync } from 'node:fs';
import type { StreamHeader } from '../../../src/stream/stream-header.js';

/** A stream that make.py wrote, with what a reader must make of it. */
export interface Vector {
  readonly name: string;
  readonly expect: 'ok' | 'TRUNCATED' | 'FORMAT';
  readonly why: string;
  readonly bytes: Buffer;
}

/** A good stream. `items` as `describeItem` in feed.ts writes them. */
export interface WholeVector extends Vector {
  readonly expect: 'ok';
  readonly protocol: 3 | 4;
  readonly header: StreamHeader | null;
  readonly items: readonly string[];
  /** Whether a writer given these items writes these very bytes. */
  readonly canonical: boolean;
  /** Of one with an index: its blocks, as offset, length and position, or that it is none to go by. */
  readonly index?: 'FORMAT' | readonly (readonly [number, number, number])[];
}

const index = readFileSync(new URL('index.jsonl', import.meta.url), 'utf8')
  .trimEnd()
  .split('\n');

export const vectors: readonly Vector[] = index.map((line) => {
  const entry = JSON.parse(line) as Omit<Vector, 'bytes'>;
  return { ...entry, bytes: parseHex(readFileSync(new URL(`${entry.name}.hex`, import.meta.url), 'utf8')) };
});

export const wholeVectors = vectors.filter((vector): vector is WholeVector => vector.expect === 'ok');

export function wholeVector(name: string): WholeVector {
  const found = wholeVectors.find((vector) => vector.name === name);
  if (!found) throw new Error(`no vector ${name}`);
  return found;
}

/** `#` starts a comment, `HH*N` is a byte N times. */
function parseHex(text: string): Buffer {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return Buffer.concat(
    lines.map((line) => {
      const [digits = '', times] = line.split('*');
      const bytes = Buffer.from(digits, 'hex');
      return times === undefined ? bytes : Buffer.alloc(Number(times), bytes);
    }),
  );
}

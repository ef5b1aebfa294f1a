import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { wholeVector } from './vectors/load-vectors.js';

test("the specification's hexdump is its golden vector", () => {
  const document = readFileSync(new URL('../../docs/stream-format.md', import.meta.url), 'utf8');
  const rows = [...document.matchAll(/^[0-9a-f]{8} {2}((?:[0-9a-f]{2} ){1,16}) *\|/gm)];
  const bytes = Buffer.concat(rows.map(([, digits = '']) => Buffer.from(digits.replaceAll(' ', ''), 'hex')));
  expect(bytes).toBeBytes(wholeVector('worked-example').bytes);
});

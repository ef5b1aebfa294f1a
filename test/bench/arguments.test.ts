import { describe, expect, it } from 'vitest';
import { parseArguments, UsageError } from './arguments.js';

const PARTS = new Map([
  ['apply', true],
  ['local', true],
  ['huge', false],
]);
const parse = (...words: string[]) => parseArguments(words, PARTS);

describe('the words after npm run bench', () => {
  it('ask for all parts in their full form where there are none', () => {
    expect(parse()).toEqual({
      ...{ form: { name: 'full', pairs: 11 }, parts: ['apply', 'local', 'huge'] },
      ...{ against: null, json: null, svg: null },
    });
  });

  it('ask for parts by name, which run in the order of the bench', () => {
    expect(parse('huge', 'apply').parts).toEqual(['apply', 'huge']);
  });

  it('ask for the quick form of the parts that have one', () => {
    expect(parse('quick')).toMatchObject({ form: { name: 'quick', pairs: 5 }, parts: ['apply', 'local'] });
    expect(parse('local', 'quick').parts).toEqual(['local']);
  });

  it('name a commit to run beside, and files to write', () => {
    const wish = parse('--against', 'b47163b', '--json', 'a.json', '--svg=a.svg', 'local');
    expect(wish).toMatchObject({ against: 'b47163b', json: 'a.json', svg: 'a.svg', parts: ['local'] });
  });

  it.each([
    [['lokal'], 'there is no part lokal: the parts are apply, local, huge'],
    [['quick', 'huge'], 'huge has no quick form: these have one: apply, local'],
    [['--pairs', '3'], "Unknown option '--pairs'"],
    [['--against'], "Option '--against <value>' argument missing"],
    [['--json='], '--json needs a value'],
  ])('are refused where they are wrong: %j', (words, message) => {
    const run = () => parse(...words);
    expect(run).toThrow(UsageError);
    expect(run).toThrow(message);
    expect(run).not.toThrow(/\n/);
  });
});

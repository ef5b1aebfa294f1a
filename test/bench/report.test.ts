import { describe, expect, it } from 'vitest';
import { atLeast, atMost, marginOf, under, verdictOf, type Figure } from './figures.js';
import { drawFigures, type PartFigure } from './picture.js';
import { Report } from './report.js';
import { figureLine, HEADER, wrap } from './table.js';
import { timeTo, type Turns } from './turns.js';

const TIME: Figure = {
  ...{ what: 'time to dd', unit: '×', runs: 11, bar: atMost(3) },
  spread: { median: 2.5, least: 2.1, most: 3.4 },
};
const SPEED: Figure = { ...TIME, what: 'speed to cat', bar: atLeast(3) };
const MEMORY: Figure = {
  ...{ what: 'peak memory', unit: 'MB', runs: 11, bar: under(150) },
  spread: { median: 120, least: 110, most: 150 },
};
const FAILED: Figure = { ...TIME, what: 'time to a & b', spread: null };
const PLAIN: Figure = { ...TIME, what: 'of interest', bar: null };

describe('a bar', () => {
  it('is cleared by the median, but that of memory by the worst run', () => {
    expect([TIME, SPEED, MEMORY, FAILED, PLAIN].map(verdictOf)).toEqual([
      ...['ok', 'missed', 'missed', 'failed', 'measured'],
    ]);
    expect(verdictOf({ ...MEMORY, spread: { median: 120, least: 110, most: 149 } })).toBe('ok');
    const exactly = { median: 3, least: 3, most: 3 };
    expect([TIME, SPEED].map((figure) => verdictOf({ ...figure, spread: exactly }))).toEqual(['ok', 'ok']);
  });

  it('is reached once where it is just cleared, twice by what is twice as good', () => {
    const twice = { median: 6, least: 6, most: 6 };
    expect(marginOf(twice, atLeast(3))).toBe(2);
    expect(marginOf(twice, atMost(12))).toBe(2);
    expect(marginOf(twice, under(12))).toBe(2);
  });
});

describe('the table', () => {
  it('has median, range, runs, bar and verdict in one line', () => {
    expect([HEADER, ...[TIME, SPEED, MEMORY, FAILED, PLAIN].map(figureLine)]).toEqual([
      '                                        median least to most runs  bar',
      '  time to dd                            2.50 ×  2.10 to 3.40   11  ≤ 3 ok',
      '  speed to cat                          2.50 ×  2.10 to 3.40   11  ≥ 3 MISSED',
      '  peak memory                           120 MB    110 to 150   11  < 150 MISSED',
      '  time to a & b                         FAILED                     ≤ 3',
      '  of interest                           2.50 ×  2.10 to 3.40   11',
    ]);
  });

  it('stays within 80 columns, with a long name in a line of its own', () => {
    const spread = { median: 1234.5, least: 99.5, most: 10_234.5 };
    const what = 'a name that is longer than its column is wide';
    const lines = figureLine({ ...SPEED, what, spread, bar: atLeast(0.45) }).split('\n');
    expect(lines[0]).toBe(`  ${what}`);
    expect(lines).toHaveLength(2);
    expect(Math.max(...lines.map(({ length }) => length))).toBeLessThanOrEqual(80);
  });

  it('breaks texts at blanks', () => {
    const lines = wrap('word '.repeat(40).trim(), '  ');
    expect(lines.join(' ').trim().split(/\s+/)).toHaveLength(40);
    expect(lines.every((line) => line.startsWith('  word') && line.length <= 80)).toBe(true);
  });
});

describe('the picture', () => {
  const figures: PartFigure[] = [TIME, SPEED, MEMORY, FAILED, PLAIN].map((figure) => ({
    part: 'apply',
    ...figure,
  }));
  const picture = drawFigures(figures, 'this <build> & machine');

  it('is well-formed', () => {
    expectWellFormed(picture);
  });

  it('has a bar for each figure that has a limit', () => {
    const bars = [...picture.matchAll(/<rect class="bar (\w+)"/g)].map(([, verdict]) => verdict);
    expect(bars).toEqual(['ok', 'missed', 'missed', 'failed']);
  });

  it('has bars that reach the line where they clear their limit, and no others', () => {
    const line = Number(/<line class="limit" x1="(\d+)"/.exec(picture)?.[1]);
    const rects = [...picture.matchAll(/<rect class="bar (ok|missed)" x="(\d+)" y="\d+" width="(\d+)"/g)];
    const ends = rects.map(([, verdict, x, width]) => [verdict, Number(x) + Number(width) >= line]);
    // memory is at its limit, which is too much by less than a pixel
    expect(ends.slice(0, 2)).toEqual([
      ['ok', true],
      ['missed', false],
    ]);
  });

  it('has colours of its own for dark pages, and says which are missed in words', () => {
    expect(picture).toContain('@media (prefers-color-scheme: dark)');
    expect(picture).toContain('>2.50 × (at least 3), missed</text>');
    expect(picture).toContain('>failed (at most 3)</text>');
  });
});

describe('a report', () => {
  const turns: Turns = {
    rounds: [new Map([['ours', { seconds: 4 }]])],
    failures: new Map([['dd', 'dd: status 1: no space']]),
  };
  const rivals = new Map([
    ['ours', null],
    ['dd', null],
  ]);
  const plans = [
    { what: 'to dd', ...timeTo('ours', 'dd') },
    { what: 'to itself', ...timeTo('ours', 'ours') },
    { what: 'to a build that nobody asked for', ...timeTo('ours', 'other') },
  ];

  it('fails the figures of a rival that failed, with what it said, and leaves out those of an absent one', () => {
    const lines: string[] = [];
    const report = new Report((line) => lines.push(line));
    report.begin('local');
    report.race(turns, rivals, plans);
    expect(report.figures.map(({ what, spread }) => [what, spread?.median])).toEqual([
      ['to dd', undefined],
      ['to itself', 1],
    ]);
    expect(lines[0]).toBe('  FAILED: dd: dd: status 1: no space');
    expect(report.finish()).toBe(false);
    expect(lines.at(-1)).toBe('FAILED: local: dd: dd: status 1: no space');
  });

  it('is good only where nothing was missed and nothing failed', () => {
    const reportOf = (...figures: Figure[]): Report => {
      const report = new Report(() => undefined);
      report.begin('apply');
      for (const figure of figures) report.figure(figure);
      return report;
    };
    expect(reportOf(TIME, PLAIN).finish()).toBe(true);
    expect(reportOf(TIME, SPEED).finish()).toBe(false);
    const skipped = reportOf(TIME);
    skipped.skip('no sshd on this machine');
    expect(skipped.finish()).toBe(true);
    const failed = reportOf(TIME);
    failed.fail('no place');
    expect(failed.finish()).toBe(false);
  });

  it('tells programs all figures, and how each ended', () => {
    const report = new Report(() => undefined);
    report.begin('apply');
    report.figure(TIME);
    report.skip('no room');
    expect(JSON.parse(report.toJson({ form: 'quick' }))).toEqual({
      form: 'quick',
      figures: [{ part: 'apply', ...TIME, verdict: 'ok' }],
      failures: [],
      skipped: [{ part: 'apply', reason: 'no room' }],
    });
  });
});

/** Each element is closed where it should be, and no text has a character that begins markup. */
function expectWellFormed(xml: string): void {
  const open: string[] = [];
  const rest = xml.replaceAll(
    /<(\/?)([a-z]+)((?: [a-zA-Z0-9:-]+="[^"<&]*")*)(\/?)>/g,
    (_, end: string, name: string, _attributes, alone: string) => {
      if (end === '/') expect(open.pop()).toBe(name);
      else if (alone === '') open.push(name);
      return '';
    },
  );
  expect(open).toEqual([]);
  expect(rest.replaceAll(/&(amp|lt|gt);/g, '')).not.toMatch(/[<>&]/);
}

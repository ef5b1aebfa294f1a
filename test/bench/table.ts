import { barText, rangeText, valueText, verdictOf, type Figure } from './figures.js';

const WIDTH = 80;
const [WHAT, MEDIAN, RANGE, RUNS] = [33, 10, 13, 4];

export const HEADER = row('', 'median', 'least to most', 'runs', 'bar');

/** A figure in a line of at most 80 columns, or in two where its name is long. */
export function figureLine(figure: Figure): string {
  const { what, unit, spread, runs, bar } = figure;
  const verdict = verdictOf(figure);
  const end = bar === null ? '' : `${barText(bar)} ${verdict === 'missed' ? 'MISSED' : verdict}`;
  if (spread === null) return row(what, 'FAILED', '', '', bar === null ? '' : barText(bar));
  return row(what, valueText(spread.median, unit), rangeText(spread, unit), String(runs), end);
}

/** Breaks a text at blanks, into lines of at most 80 columns. */
export function wrap(text: string, indent = ''): string[] {
  const lines: string[] = [];
  let line = indent;
  for (const word of text.split(/\s+/)) {
    const longer = line === indent ? `${indent}${word}` : `${line} ${word}`;
    if (longer.length > WIDTH && line !== indent) {
      lines.push(line);
      line = `${indent}${word}`;
    } else line = longer;
  }
  return [...lines, line];
}

function row(what: string, median: string, range: string, runs: string, end: string): string {
  const rest = `${median.padStart(MEDIAN)} ${range.padStart(RANGE)} ${runs.padStart(RUNS)}  ${end}`.trimEnd();
  const name = `  ${what}`;
  if (what.length <= WHAT) return `${name.padEnd(WHAT + 2)} ${rest}`;
  return `${name}\n${' '.repeat(WHAT + 2)} ${rest}`;
}

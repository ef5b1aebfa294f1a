import { marginOf, valueText, verdictOf, type Bar, type Figure, type Spread } from './figures.js';

/** A figure, and the part that measured it. */
export interface PartFigure extends Figure {
  readonly part: string;
}

const WIDTH = 860;
const [LABEL_END, BAR_START, BAR_END] = [330, 340, 620];
const [TOP, ROW, BAR_HEIGHT] = [86, 26, 14];
/** Where a bar that just clears its limit ends, and how far the best may go. */
const FARTHEST = 2;

const STYLE = `
    svg { background: #ffffff; font: 13px system-ui, sans-serif; }
    text { fill: #1f2328; }
    .quiet { fill: #59636e; }
    .ok { fill: #2da44e; }
    .missed { fill: #cf222e; }
    .failed { fill: #8c959f; }
    .limit, .spread { stroke: #1f2328; stroke-width: 1.5; }
    @media (prefers-color-scheme: dark) {
      svg { background: #0d1117; }
      text { fill: #e6edf3; }
      .quiet { fill: #9198a1; }
      .ok { fill: #3fb950; }
      .missed { fill: #f85149; }
      .limit, .spread { stroke: #e6edf3; }
    }
  `;

/** Draws each figure that has a bar: how far it reaches, and the line that it has to reach. */
export function drawFigures(figures: readonly PartFigure[], subtitle: string): string {
  const rows = figures.filter(({ bar }) => bar !== null);
  const height = TOP + rows.length * ROW + 16;
  const line = along(1);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img">`,
    `  <title>The figures of lvmsync's bench against their limits</title>`,
    `  <style>${STYLE}</style>`,
    text(8, 24, 'Each figure against its limit', 'font-size="16"'),
    text(8, 44, 'A bar that reaches the line clears its limit; twice as long is twice as good.', QUIET),
    text(8, 62, subtitle, QUIET),
    ...rows.flatMap((figure, index) => drawRow(figure, TOP + index * ROW)),
    `  <line class="limit" x1="${line}" y1="${TOP - 8}" x2="${line}" y2="${height - 8}"/>`,
    '</svg>',
    '',
  ].join('\n');
}

const QUIET = 'class="quiet"';

function drawRow(figure: PartFigure, y: number): string[] {
  const { part, what, unit, spread, bar } = figure;
  const baseline = y + BAR_HEIGHT - 2;
  const verdict = verdictOf(figure);
  const label = text(LABEL_END, baseline, `${part}: ${what}`, 'text-anchor="end"');
  if (bar === null) return [];
  const limit = `${bar.kind} ${bar.limit}`;
  if (spread === null) {
    const rect = `  <rect class="bar failed" x="${BAR_START}" y="${y}" width="4" height="${BAR_HEIGHT}"/>`;
    return [label, rect, text(BAR_END + 10, baseline, `failed (${limit})`)];
  }
  const width = along(marginOf(spread, bar)) - BAR_START;
  const says = `${valueText(spread.median, unit)} (${limit})${verdict === 'missed' ? ', missed' : ''}`;
  return [
    label,
    `  <rect class="bar ${verdict}" x="${BAR_START}" y="${y}" width="${width}" height="${BAR_HEIGHT}" rx="2"/>`,
    drawSpread(spread, bar, y + BAR_HEIGHT / 2),
    text(BAR_END + 10, baseline, says),
  ];
}

/** From the worst to the best run. */
function drawSpread({ least, most }: Spread, bar: Bar, y: number): string {
  const ends = [least, most].map((each) => along(marginOf({ median: each, least: each, most: each }, bar)));
  return `  <line class="spread" x1="${Math.min(...ends)}" y1="${y}" x2="${Math.max(...ends)}" y2="${y}"/>`;
}

/** Where a figure that is so many times as good as its limit ends. */
function along(margin: number): number {
  const share = Math.min(Math.max(margin, 0.02), FARTHEST) / FARTHEST;
  return Math.round(BAR_START + share * (BAR_END - BAR_START));
}

function text(x: number, y: number, words: string, attributes = ''): string {
  const escaped = words.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
  return `  <text x="${x}" y="${y}"${attributes === '' ? '' : ` ${attributes}`}>${escaped}</text>`;
}

import { cpus, loadavg, release, totalmem } from 'node:os';
import { verdictOf, type Figure } from './figures.js';
import type { PartFigure } from './picture.js';
import { figureLine, HEADER, wrap } from './table.js';
import { readFigure, type Plan, type Turns } from './turns.js';

/** Why something of a part was not measured. */
interface Gap {
  readonly part: string;
  readonly reason: string;
}

/** What the whole bench found; it says each line as soon as it is known. */
export class Report {
  readonly figures: PartFigure[] = [];
  readonly failures: Gap[] = [];
  readonly skipped: Gap[] = [];
  private part = '';

  constructor(private readonly say: (line: string) => void) {}

  /** What follows belongs to this part. */
  begin(part: string): void {
    this.part = part;
  }

  /** What the figures below are of. */
  title(text: string): void {
    this.lines('', ...wrap(`${this.part}: ${text}`), HEADER);
  }

  figure(figure: Figure): void {
    this.figures.push({ part: this.part, ...figure });
    this.lines(figureLine(figure));
  }

  /** The figures of rivals that ran in turn, but for those that need a rival that did not take part. */
  race(turns: Turns, rivals: ReadonlyMap<string, unknown>, plans: readonly Plan[]): void {
    for (const [name, reason] of turns.failures) this.fail(`${name}: ${reason}`);
    for (const plan of plans) {
      if (plan.of.every((name) => rivals.has(name))) this.figure(readFigure(turns, plan));
    }
  }

  skip(reason: string): void {
    this.skipped.push({ part: this.part, reason });
    this.lines(...wrap(`SKIPPED: ${reason}`, '  '));
  }

  fail(reason: string): void {
    this.failures.push({ part: this.part, reason });
    this.lines(
      ...reason.split('\n').flatMap((line, index) => wrap(index === 0 ? `FAILED: ${line}` : line, '  ')),
    );
  }

  /** Says what was missed, failed or left out; true if nothing was missed or failed. */
  finish(): boolean {
    const missed = this.figures.filter((figure) => verdictOf(figure) === 'missed');
    const cleared = this.figures.filter((figure) => verdictOf(figure) === 'ok').length;
    this.lines('', `${cleared} bars cleared, ${missed.length} missed, ${this.failures.length} failures`);
    for (const figure of missed) this.lines(`MISSED: ${figure.part}`, figureLine(figure));
    for (const { part, reason } of this.failures) this.lines(`FAILED: ${part}: ${reason}`);
    for (const { part, reason } of this.skipped) this.lines(...wrap(`SKIPPED: ${part}: ${reason}`));
    return missed.length === 0 && this.failures.length === 0;
  }

  /** What a program may read: all figures, and what is known of the run. */
  toJson(about: Readonly<Record<string, unknown>>): string {
    const figures = this.figures.map((figure) => ({ ...figure, verdict: verdictOf(figure) }));
    return `${JSON.stringify({ ...about, figures, failures: this.failures, skipped: this.skipped }, null, 2)}\n`;
  }

  private lines(...lines: readonly string[]): void {
    for (const line of lines) this.say(line);
  }
}

/** What the figures were measured on. */
export function describeMachine(): string {
  const model = cpus()[0]?.model.trim() ?? 'unknown processor';
  const memory = `${Math.round(totalmem() / 2 ** 30)} GiB`;
  const load = `load average ${(loadavg()[0] ?? NaN).toFixed(1)} at the start`;
  return `${cpus().length} cores (${model}), ${memory}, Linux ${release()}, Node ${process.version}, ${load}`;
}

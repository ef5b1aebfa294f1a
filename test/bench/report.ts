import { cpus, loadavg, release, totalmem } from 'node:os';
import type { Spread } from './measure.js';

/** Bars that a run has to clear; each miss is remembered until the end. */
export class Bars {
  readonly missed: string[] = [];

  /** Checks a figure and says so in a few words, for the end of a line. */
  check(what: string, cleared: boolean, bar: string): string {
    if (!cleared) this.missed.push(`${what}: ${bar}`);
    return `[bar: ${bar}: ${cleared ? 'ok' : 'MISSED'}]`;
  }
}

export function title(text: string): void {
  console.log(`\n${text}`);
}

/** One measured thing: a name, then what was found. */
export function line(name: string, ...parts: readonly string[]): void {
  console.log(`  ${name.padEnd(30)} ${parts.join('  ')}`);
}

export function rate({ median, least, most }: Spread, unit: string, digits = 0): string {
  const middle = `${median.toFixed(digits)} ${unit}`;
  return `${middle.padEnd(9)} (${least.toFixed(digits)} to ${most.toFixed(digits)})`;
}

export function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1e6)} MB`;
}

/** What the figures were measured on. */
export function describeMachine(): string {
  const model = cpus()[0]?.model.trim() ?? 'unknown processor';
  const memory = `${Math.round(totalmem() / 2 ** 30)} GiB`;
  const load = `load average ${(loadavg()[0] ?? NaN).toFixed(1)} at the start`;
  return `${cpus().length} cores (${model}), ${memory}, Linux ${release()}, Node ${process.version}, ${load}`;
}

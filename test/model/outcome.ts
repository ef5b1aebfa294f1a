import { expect } from 'vitest';
import { ALL_UNITS, SECTOR, STRETCH_UNITS, UNIT, UNITS, type Units } from './volume.js';

/** What a run is to bring to a target. */
export interface Intent {
  /** Where it writes, and nowhere else. */
  readonly units: Units;
  /** What may be there then: one image, or where someone wrote to the source meanwhile, of each unit one of them. */
  readonly images: readonly Buffer[];
  /** Whether there may also be what was there before: nobody can say beforehand which of these units it writes. */
  readonly mayKeep?: boolean;
  /** Whether it overwrites all of the target, whatever that holds, without a way back. */
  readonly isCopy?: boolean;
  /** Whether the user wanted no way back. */
  readonly isBold?: boolean;
  /** Whether the user said that he knows better. */
  readonly isForced?: boolean;
  /** Whether it may find halfway only that the target is not what it should be. */
  readonly mayStop?: boolean;
  /** How much of the rest it compares, and mends where that differs. Percent; null: nothing. */
  readonly audit?: number | null;
}

export const NOTHING: Intent = { units: ALL_UNITS.map(() => false), images: [] };

/** What a target may come to hold, as a whole: an image, in some units of which there may be another one's. */
export interface Outcome {
  readonly image: Buffer;
  readonly over: Intent;
}

export const isSame = (one: Buffer, other: Buffer) => one.equals(other);

const unitOf = (image: Buffer, unit: number) => image.subarray(unit * UNIT, (unit + 1) * UNIT);

/** All that may come of a run that meets any of these outcomes of earlier ones. */
export function landings(starts: readonly Outcome[], intent: Intent): Outcome[] {
  const intents = [intent, ...auditedUnits(intent).map((units) => ({ ...intent, units }))];
  const all = starts.flatMap((start) => intents.map((each) => landed(start, each)));
  // Most stretches find nothing to mend.
  return all.filter((one, index) => all.findIndex((other) => isSameOutcome(one, other)) === index);
}

function isSameOutcome(one: Outcome, other: Outcome): boolean {
  return one === other || (one.over === NOTHING && other.over === NOTHING && isSame(one.image, other.image));
}

/** The units that are as they should be after an audit, by where the stretch lies that it looked at. */
function auditedUnits({ units, audit = null }: Intent): Units[] {
  if (audit === null) return [];
  const length = Math.ceil((UNITS * audit) / 100 / STRETCH_UNITS) * STRETCH_UNITS;
  const starts = length >= UNITS ? [0] : ALL_UNITS.map((_, unit) => unit).filter(isStretchStart);
  return starts.map((start) => units.map((is, unit) => is || (unit >= start && unit < start + length)));
}

const isStretchStart = (unit: number) => unit % STRETCH_UNITS === 0;

/** What comes of a run that meets an outcome of an earlier one. */
function landed({ image, over }: Outcome, intent: Intent): Outcome {
  const [first] = intent.images;
  if (first === undefined) return { image, over };
  const kept = Buffer.from(image);
  const [under] = over.images;
  for (let unit = 0; unit < UNITS; unit++)
    if (under !== undefined && over.units[unit] === true) unitOf(under, unit).copy(kept, unit * UNIT);
  const flat = Buffer.from(kept);
  for (let unit = 0; unit < UNITS; unit++) {
    if (intent.units[unit] === true) unitOf(first, unit).copy(flat, unit * UNIT);
  }
  const images = intent.mayKeep === true ? [...intent.images, kept, ...over.images] : intent.images;
  return { image: flat, over: images.length > 1 ? { ...intent, images } : NOTHING };
}

export function choices({ image, over }: Outcome, unit: number): readonly Buffer[] {
  return over.units[unit] === true ? over.images : [image];
}

export const imagesOf = ({ image, over }: Outcome) => [image, ...over.images];

export function fits(bytes: Buffer, outcome: Outcome): boolean {
  if (bytes.length !== outcome.image.length && outcome.over === NOTHING) return false;
  // Of units that it may leave as they were, it may also write no more than sectors.
  if (outcome.over.mayKeep === true) return isMadeOf(bytes, imagesOf(outcome));
  for (let unit = 0; unit < UNITS; unit++) {
    const held = unitOf(bytes, unit);
    if (!choices(outcome, unit).some((image) => unitOf(image, unit).equals(held))) return false;
  }
  return bytes.subarray(UNITS * UNIT).equals(outcome.image.subarray(UNITS * UNIT));
}

/** Each unit is one of those that it may be. */
export function expectUnits(bytes: Buffer, mayBe: (unit: number) => readonly Buffer[], env: string): void {
  const wrong: string[] = [];
  for (let unit = 0; unit < UNITS; unit++) {
    const held = unitOf(bytes, unit);
    if (mayBe(unit).some((image) => unitOf(image, unit).equals(held))) continue;
    const should = mayBe(unit).map((image) => describeUnit(unitOf(image, unit)));
    wrong.push(`${unit}: ${describeUnit(held)} instead of ${should.join(' or ')}`);
  }
  expect(wrong, env).toEqual([]);
}

/** Whether each sector comes from one of these. */
function isMadeOf(bytes: Buffer, images: readonly Buffer[]): boolean {
  for (let at = 0; at < bytes.length; at += SECTOR) {
    const held = bytes.subarray(at, at + SECTOR);
    if (!images.some((image) => image.subarray(at, at + SECTOR).equals(held))) return false;
  }
  return true;
}

/** Each sector comes from one of these. */
export function expectSectors(bytes: Buffer, images: readonly Buffer[], env: string): void {
  for (let at = 0; at < bytes.length; at += SECTOR) {
    const held = bytes.subarray(at, at + SECTOR);
    const isKnown = images.some((image) => image.subarray(at, at + SECTOR).equals(held));
    if (!isKnown) expect.fail(`byte ${at} holds what nobody wrote there: ${describeUnit(held)}; ${env}`);
  }
}

/** Its first sectors' fills. */
function describeUnit(bytes: Buffer): string {
  const shown: string[] = [];
  for (let at = 0; at < bytes.length; at += SECTOR)
    shown.push(/^\d+/.exec(bytes.toString('latin1', at, at + 4))?.[0] ?? '0');
  return [...new Set(shown)].join('/');
}

/** What thin_delta says where it fails, as far as it tells what to do about it. */
export interface ThinDeltaFailure {
  /** Its own words, in one line that is not too long. */
  readonly said: string;
  /** Which of the two devices the metadata do not have. */
  readonly missing: 'left' | 'right' | null;
  /** Whether the metadata are damaged. */
  readonly isDamage: boolean;
}

/** 1.1 prints all of a superblock in numbers. Characters. */
const MOST_WORDS = 200;
const MISSING = /Unable to find mapping tree for snap([12]) /;
const DAMAGE =
  /bad checksum|checksum error|damage in mapping tree|inconsistent device ids|block out of bounds/;

/**
 * Reads what thin_delta printed on stderr where it failed: 0.9 with status 1, and its usage behind whatever it says;
 * 1.1 with status 64, or 2 where it does not know a word. Samples of both are in test/changes.
 */
export function readThinDeltaFailure(stderr: string): ThinDeltaFailure {
  const lines = stderr.split('\n').map((line) => line.trim());
  const usage = lines.findIndex((line) => line.startsWith('Usage:'));
  const words = (usage === -1 ? lines : lines.slice(0, usage)).filter((line) => line !== '').join('; ');
  const snap = MISSING.exec(words)?.[1];
  return {
    said: words.length > MOST_WORDS ? `${words.slice(0, MOST_WORDS)}…` : words,
    missing: snap === undefined ? null : snap === '1' ? 'left' : 'right',
    isDamage: DAMAGE.test(words),
  };
}

import { CommandError } from '../errors.js';
import { readOutput } from '../host/read-output.js';
import type { Surroundings } from '../host/surroundings.js';

export const THIN_TOOLS = 'thin-provisioning-tools (Debian) or device-mapper-persistent-data (Fedora)';

/** Asks thin_delta for its version: 0.9.0 and 1.1.0 print just that, 1.0.0 to 1.0.11 print `thin_delta 1.0.11`. */
export const ASK_THIN_DELTA = ['thin_delta', '-V'] as const;
const VERSION = /^(?:thin_delta )?(\d{1,4}(?:\.\d{1,4}){1,2})(?![\d.])/;
/** No version is longer. Characters. */
const MOST_SAID = 256;

type Version = readonly [major: number, minor: number, patch: number];

/** The versions of thin_delta whose output is not trusted, each range with the reason. All others are trusted. */
const WRONG_VERSIONS: readonly {
  readonly from: Version;
  readonly before: Version;
  readonly reason: string;
}[] = [
  {
    from: [0, 0, 0],
    before: [0, 9, 0],
    reason: 'lvmsync was not tested with any version before 0.9.0, and thin_delta had bugs before 0.7.0',
  },
  {
    from: [1, 0, 0],
    before: [1, 0, 6],
    reason:
      'it reports changed blocks as unchanged if blocks next to each other in the volume are apart in the pool',
  },
];

/** What to do if thin_delta cannot be trusted. */
export const WITHOUT_THIN_DELTA =
  'install version 1.0.6 or newer of the thin-provisioning-tools (Debian 13 has 1.1.0), or 0.9.0 (Debian 12), or ' +
  'compare the whole volumes without it: "lvmsync --scan", or "lvmsync copy --seed"';

/** A thin_delta whose version is known and trusted. */
export interface ThinDelta {
  /** Such as `1.1.0`. */
  readonly version: string;
}

/** What thin_delta said about its version, and why its output is not trusted; null if it is. */
export type ThinDeltaVerdict =
  | { readonly version: string; readonly problem: null }
  | { readonly version: string | null; readonly problem: string };

/** Judges what `thin_delta -V` printed. Output without a version is not trusted. */
export function judgeThinDelta(said: string): ThinDeltaVerdict {
  const version = VERSION.exec(said)?.[1];
  if (version === undefined) {
    const line = said.trim().split('\n')[0]?.slice(0, 60) ?? '';
    return { version: null, problem: `it does not report its version (it prints "${line}")` };
  }
  const [major = 0, minor = 0, patch = 0] = version.split('.').map(Number);
  const wrong = WRONG_VERSIONS.find(
    ({ from, before }) => !isOlder([major, minor, patch], from) && isOlder([major, minor, patch], before),
  );
  if (wrong === undefined) return { version, problem: null };
  return { version, problem: `version ${version} cannot be trusted: ${wrong.reason}` };
}

/**
 * Asks thin_delta for its version: once a run, before anything is written. Throws CommandError if it is missing or
 * fails, reports no version, or reports one that is known to be wrong.
 */
export async function findThinDelta(env: Surroundings): Promise<ThinDelta> {
  let said = '';
  await readOutput(ASK_THIN_DELTA, THIN_TOOLS, env, async (output) => {
    for await (const piece of output) {
      said += Buffer.from(piece).toString('latin1');
      if (said.length > MOST_SAID) throw refusal('it prints more than its version');
    }
  });
  const { version, problem } = judgeThinDelta(said);
  if (problem !== null) throw refusal(problem);
  return { version };
}

function refusal(problem: string): CommandError {
  return new CommandError(ASK_THIN_DELTA, `${problem}: ${WITHOUT_THIN_DELTA}`);
}

function isOlder(version: Version, than: Version): boolean {
  const at = version.findIndex((number, place) => number !== than[place]);
  return at !== -1 && (version[at] ?? 0) < (than[at] ?? 0);
}

/** How many states to keep: the last ones, and for each of the last hours, days, weeks and months the last one. */
export interface KeepRules {
  readonly last: number;
  readonly hourly: number;
  readonly daily: number;
  readonly weekly: number;
  readonly monthly: number;
}

/** A state, and the time since which the volume was in it. */
export interface TimedState {
  readonly name: string;
  /** Null for the oldest one, whose time is not known. */
  readonly begin: Date | null;
}

/** The names of the states to keep; `states` has the latest first. */
export function keptStates(states: readonly TimedState[], rules: KeepRules): Set<string> {
  const kept = new Set(states.slice(0, rules.last).map(({ name }) => name));
  for (const [count, periodOf] of [
    [rules.hourly, hourOf],
    [rules.daily, dayOf],
    [rules.weekly, weekOf],
    [rules.monthly, monthOf],
  ] as const) {
    const periods = new Set<string>();
    for (const { name, begin } of states) {
      // It counts as a period of its own: otherwise each prune would put the oldest state into the period of the next
      // one.
      const period = begin === null ? 'before' : periodOf(begin);
      if (periods.has(period)) continue;
      if (periods.size === count) break;
      periods.add(period);
      kept.add(name);
    }
  }
  return kept;
}

// In this host's time zone, because its users count their days in it.
function monthOf(time: Date): string {
  return `${time.getFullYear()}-${time.getMonth()}`;
}

function dayOf(time: Date): string {
  return `${monthOf(time)}-${time.getDate()}`;
}

function hourOf(time: Date): string {
  // The hour that comes twice when summer time ends counts as two.
  return `${dayOf(time)}-${time.getHours()} ${time.getTimezoneOffset()}`;
}

/** By the Monday that the week begins with. */
function weekOf(time: Date): string {
  const monday = new Date(time.getFullYear(), time.getMonth(), time.getDate() - ((time.getDay() + 6) % 7));
  return dayOf(monday);
}

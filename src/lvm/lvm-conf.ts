import { CommandError } from '../errors.js';
import type { Spawner } from '../host/spawner.js';
import { LVM_ENVIRONMENT } from './lvm-settings.js';

/** What lvm.conf says other than LVM would by itself: `section/name` to the value, as LVM writes it. */
export type ChangedSettings = ReadonlyMap<string, string>;

/**
 * Asks which settings of LVM are not its own defaults. Without our `--config`, which would be among them. Throws
 * CommandError where LVM does not say.
 */
export async function readChangedSettings(spawner: Spawner): Promise<ChangedSettings> {
  const words = ['lvmconfig', '--type', 'diff'] as const;
  const result = await spawner.run(words, { environment: LVM_ENVIRONMENT, watch: 'question' });
  if (result.status !== 0) {
    throw new CommandError(words, result.status, result.stderr, result.gaveUp ?? 'LVM does not answer');
  }
  return parseSettings(result.stdout);
}

/** Takes LVM's way of writing settings apart: sections in braces, one setting a line. */
function parseSettings(text: string): ChangedSettings {
  const settings = new Map<string, string>();
  let section = '';
  for (const line of text.split('\n').map((each) => each.trim())) {
    section = /^([a-z_]+) \{$/.exec(line)?.[1] ?? section;
    const [, name, value] = /^([a-z_]+)=(.*)$/.exec(line) ?? [];
    if (name !== undefined && value !== undefined) settings.set(`${section}/${name}`, value);
  }
  return settings;
}

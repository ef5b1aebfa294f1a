import { CommandError } from '../errors.js';
import type { DeviceNumber } from '../device/device-facts.js';
import type { CommandResult, RunOptions, Spawner } from '../host/spawner.js';
import { LVM_ENVIRONMENT } from './lvm-settings.js';

/** One target of a device-mapper table or status. Sectors have 512 bytes. */
export interface DmTarget {
  readonly startSector: number;
  readonly sectors: number;
  readonly type: string;
  readonly words: readonly string[];
}

/** What device-mapper knows about a device besides its table. */
export interface DmInfo {
  readonly name: string;
  /** Empty if its creator gave none. */
  readonly uuid: string;
  /** How many times it is open now: by mounts, programs and tables above it, including us. */
  readonly openCount: number;
}

type Watch = RunOptions['watch'] & string;

/** Asks device-mapper about devices by number, because names can be odd. Throws CommandError. */
export class DeviceMapper {
  constructor(private readonly spawner: Spawner) {}

  async table(number: DeviceNumber): Promise<DmTarget[]> {
    return parseTargets(await this.ask('table', number));
  }

  async status(number: DeviceNumber): Promise<DmTarget[]> {
    return parseTargets(await this.ask('status', number));
  }

  async info(number: DeviceNumber): Promise<DmInfo> {
    // The name comes last: it may contain the separator.
    const columns = ['-c', '--noheadings', '--separator', ' ', '-o', 'open,uuid,name'];
    const [open = '', uuid = '', ...name] = (await this.ask('info', number, columns)).trim().split(' ');
    return { openCount: Number(open), uuid, name: name.join(' ') };
  }

  /** Sends a device's target a message that changes it. */
  async message(number: DeviceNumber, text: string): Promise<void> {
    // The 0 is the sector that selects the target.
    const { argv, status, stderr, gaveUp } = await this.run('message', number, 'change', ['0', text]);
    if (status !== 0) throw new CommandError(argv, gaveUp ?? 'device-mapper refused', { status, stderr });
  }

  private async ask(command: string, number: DeviceNumber, options: string[] = []): Promise<string> {
    const { argv, status, stdout, stderr, gaveUp } = await this.run(command, number, 'question', options);
    if (status === 0 && !stderr.includes('Device does not exist')) return stdout;
    throw new CommandError(argv, gaveUp ?? 'device-mapper does not know this device', { status, stderr });
  }

  private async run(command: string, number: DeviceNumber, watch: Watch, words: string[]) {
    const [major = '', minor = ''] = number.split(':');
    const argv = ['dmsetup', command, '-j', major, '-m', minor, ...words] as const;
    const result = await runDmsetup(this.spawner, argv, watch);
    // dmsetup 1.02.185 and 1.02.205 (of LVM 2.03.16 and 2.03.31) print the first of these.
    if (/permission denied|must be run as root|Operation not permitted/i.test(result.stderr)) {
      throw new CommandError(argv, 'permission denied: run lvmsync as root', {
        status: result.status,
        mayNotAsk: true,
      });
    }
    return { argv, ...result };
  }
}

/**
 * Runs dmsetup to ask or to change something. Names are the kernel's own, as the nodes have them: with mangling,
 * dmsetup refuses names that others made without it.
 */
export async function runDmsetup(
  spawner: Spawner,
  [program, command, ...words]: readonly ['dmsetup', string, ...string[]],
  watch: Watch,
): Promise<CommandResult> {
  const argv = [program, command, '--manglename', 'none', ...words] as const;
  return await spawner.run(argv, { environment: LVM_ENVIRONMENT, watch });
}

function parseTargets(output: string): DmTarget[] {
  return output
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => {
      const [start, sectors, type = '', ...words] = line.trim().split(/\s+/);
      return { startSector: Number(start), sectors: Number(sectors), type, words };
    });
}

import { CommandError } from '../errors.js';
import type { DeviceNumber } from '../device/device-facts.js';
import type { Spawner } from '../host/spawner.js';

/** One target of a device-mapper table or status. Sectors are of 512 bytes. */
export interface DmTarget {
  readonly startSector: number;
  readonly sectors: number;
  readonly type: string;
  readonly words: readonly string[];
}

/** What device-mapper knows of a device besides its table. */
export interface DmInfo {
  readonly name: string;
  /** Empty where its maker gave none. */
  readonly uuid: string;
  /** How often it is open right now: mounts, programs and tables above it, us included. */
  readonly openCount: number;
}

/** Asks device-mapper about devices by their number, as names can be odd. Throws CommandError. */
export class DeviceMapper {
  constructor(private readonly spawner: Spawner) {}

  async table(number: DeviceNumber): Promise<DmTarget[]> {
    return parseTargets(await this.ask('table', number));
  }

  async status(number: DeviceNumber): Promise<DmTarget[]> {
    return parseTargets(await this.ask('status', number));
  }

  async info(number: DeviceNumber): Promise<DmInfo> {
    // The name last: it may hold the separator.
    const columns = ['-c', '--noheadings', '--separator', ' ', '-o', 'open,uuid,name'];
    const [open = '', uuid = '', ...name] = (await this.ask('info', number, columns)).trim().split(' ');
    return { openCount: Number(open), uuid, name: name.join(' ') };
  }

  /** Tells a device's target something that changes it. */
  async message(number: DeviceNumber, text: string): Promise<void> {
    // The 0 is a sector of the target that is meant.
    const { argv, status, stderr } = await this.run('message', number, [], ['0', text]);
    if (status !== 0) throw new CommandError(argv, status, stderr, 'device-mapper refused');
  }

  private async ask(command: string, number: DeviceNumber, options: string[] = []): Promise<string> {
    const { argv, status, stdout, stderr } = await this.run(command, number, options, []);
    if (status === 0 && !stderr.includes('Device does not exist')) return stdout;
    throw new CommandError(argv, status, stderr, 'device-mapper does not know this device');
  }

  private async run(command: string, number: DeviceNumber, options: string[], words: string[]) {
    const [major = '', minor = ''] = number.split(':');
    const argv = ['dmsetup', command, ...options, '-j', major, '-m', minor, ...words] as const;
    const { status, stdout, stderr } = await this.spawner.run([...argv]);
    if (/permission denied|must be run as root|Operation not permitted/i.test(stderr)) {
      throw new CommandError(argv, status, '', 'no right to ask device-mapper: run lvmsync as root');
    }
    return { argv, status, stdout, stderr };
  }
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

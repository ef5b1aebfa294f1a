import { run } from './run.js';

/** What is left of a run: of a metadata snapshot and of temporary snapshots. */
export interface ThinLeftOvers {
  readonly heldRoot: string | undefined;
  readonly temporary: string;
}

/** When nothing is left. */
export const NOTHING_LEFT: ThinLeftOvers = { heldRoot: '-', temporary: '' };

/** Runs one of LVM's programs quietly: that a pool could not hold all that its volumes promise is no news here. */
export async function lv(program: string, ...words: readonly string[]): Promise<void> {
  await run([program, '-qq', '-y', ...words]);
}

/** A volume group's pool `pool` with a thin volume `vol` of 32 MiB. */
export class ThinLab {
  readonly volume: string;
  private readonly poolDevice: string;

  private constructor(private readonly group: string) {
    this.volume = `/dev/${group}/vol`;
    this.poolDevice = `${group.replaceAll('-', '--')}-pool-tpool`;
  }

  static async make(group: string, chunkSize: string): Promise<ThinLab> {
    await lv('lvcreate', '--type', 'thin-pool', '-L', '192M', '-c', chunkSize, '-n', 'pool', group);
    await lv('lvcreate', '--type', 'thin', '-V', '32M', '--thinpool', 'pool', '-n', 'vol', group);
    return new ThinLab(group);
  }

  async message(text: string): Promise<void> {
    await run(['dmsetup', 'message', this.poolDevice, '0', text]);
  }

  async leftOvers(): Promise<ThinLeftOvers> {
    return { heldRoot: await this.heldRoot(), temporary: await this.temporarySnapshots() };
  }

  async heldRoot(): Promise<string | undefined> {
    return (await run(['dmsetup', 'status', this.poolDevice])).split(' ')[6];
  }

  private async temporarySnapshots(): Promise<string> {
    const words = ['-o', 'lv_name', '-S', 'tags=lvmsync.temporary', this.group];
    return (await run(['lvs', '--noheadings', ...words])).trim();
  }
}

import type { CommandResult, Spawner } from '../../src/host/spawner.js';
import type { ThinPool } from '../../src/snapshots/thin-pool.js';

/** The pool that a fake one is. */
export const POOL: ThinPool = {
  dmName: 'vg-pool-tpool',
  key: 'LVM-pool-tpool',
  number: '254:2',
  metadata: '254:0',
  chunkSize: 65_536,
};

/** Answers dmsetup as a pool does, in the words of a real one (Linux 6.1). */
export class FakePool implements Spawner {
  /** The metadata snapshot that is held. */
  heldRoot: number | null = null;
  /** `rw`, or what it has come to. */
  mode: 'rw' | 'out_of_data_space' | 'ro' = 'rw';
  needsCheck = false;
  /** Happens right after a metadata snapshot was reserved. */
  atReserve: () => void = () => undefined;
  /** What it was told. */
  readonly messages: string[] = [];
  private nextRoot = 48;

  run(argv: readonly [string, ...string[]]): Promise<CommandResult> {
    if (argv[1] === 'status') {
      const root = this.heldRoot ?? '-';
      const words = `2 63/512 132/1024 ${root} ${this.mode} no_discard_passdown queue_if_no_space ${this.needsCheck ? 'needs_check' : '-'} 128`;
      return answer(`0 131072 thin-pool ${words} \n`);
    }
    if (argv[1] !== 'message') throw new Error(`${argv.join(' ')}: a pool is not asked that`);
    return this.take(argv.at(-1) ?? '');
  }

  start(): never {
    throw new Error('nothing is started here');
  }

  /** Someone gives back what is held, and takes another one. */
  reserveAnew(): number {
    this.heldRoot = this.nextRoot;
    this.nextRoot += 8;
    return this.heldRoot;
  }

  private take(message: string): Promise<CommandResult> {
    this.messages.push(message);
    const isReserve = message === 'reserve_metadata_snap';
    if (this.mode === 'ro') return refuse('Operation not supported');
    if (isReserve === (this.heldRoot !== null)) {
      return refuse(isReserve ? 'Device or resource busy' : 'Invalid argument');
    }
    if (isReserve) {
      this.reserveAnew();
      this.atReserve();
    } else this.heldRoot = null;
    return answer('');
  }
}

function answer(stdout: string): Promise<CommandResult> {
  return Promise.resolve({ status: 0, stdout, stderr: '' });
}

function refuse(reason: string): Promise<CommandResult> {
  const stderr = `device-mapper: message ioctl on vg-pool-tpool  failed: ${reason}\nCommand failed.\n`;
  return Promise.resolve({ status: 1, stdout: '', stderr });
}

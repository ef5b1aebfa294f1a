import type * as Files from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import type * as FilePromises from 'node:fs/promises';

/*
 * Files as a process has them that may be killed at any step: what it has not done by then it never does. The process
 * lives on to be looked at, but nothing that it tries from then on reaches a file.
 */

/** What goes wrong in a run, and before which of its steps: each is a call that changes a file. */
export interface Fault {
  /**
   * `kill`: SIGKILL. `tear`: the same, in the middle of a write. `term`: SIGTERM, to which it answers in order.
   * `full`: no file grows any more.
   */
  readonly kind: 'kill' | 'tear' | 'term' | 'full';
  readonly step: number;
}

class Killed extends Error {
  constructor() {
    super('killed');
  }
}

/** The run that is under way, as far as its files go. */
class Mortality {
  /** How many steps the run has taken. */
  steps = 0;
  private fault: Fault | null = null;
  private stop: (() => void) | null = null;

  /** Another run begins. */
  begin(fault: Fault | null, stop: () => void): void {
    this.steps = 0;
    this.fault = fault;
    this.stop = stop;
  }

  /** It is over; whether it got as far as its fault. */
  end(): boolean {
    const { fault, steps } = this;
    this.fault = null;
    return fault !== null && steps >= fault.step;
  }

  /** Takes a step; of a write that is torn by a kill, `tear` does the part that lands. Throws where it is not done. */
  step(tear: (() => void) | null, grows: boolean): void {
    const { fault } = this;
    if (fault === null) return;
    this.steps += 1;
    if (this.steps < fault.step) return;
    const isFirst = this.steps === fault.step;
    if (fault.kind === 'kill' || fault.kind === 'tear') {
      if (isFirst && fault.kind === 'tear') tear?.();
      throw new Killed();
    }
    if (fault.kind === 'term' && isFirst) this.stop?.();
    if (fault.kind === 'full' && grows) {
      throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
    }
  }
}

export const mortality = new Mortality();

type Call = (...words: never[]) => Promise<unknown>;

/** The same call, that is a step. */
function asStep<T extends Call>(call: T, grows = false): T {
  return (async (...words: never[]) => {
    mortality.step(null, grows);
    return await call(...words);
  }) as T;
}

/** `node:fs/promises`, of which each call that changes anything is a step. */
export function mortalPromises(real: typeof FilePromises): typeof FilePromises {
  const open = async (...words: Parameters<typeof real.open>) => {
    const flags = words[1];
    const makes = typeof flags === 'number' && (flags & O_CREAT) !== 0;
    if (makes) mortality.step(null, false);
    return mortalHandle(await real.open(...words));
  };
  return {
    ...real,
    open,
    mkdir: asStep(real.mkdir as Call) as typeof real.mkdir,
    rename: asStep(real.rename),
    unlink: asStep(real.unlink),
    link: asStep(real.link),
    rm: asStep(real.rm),
    writeFile: asStep(real.writeFile, true),
  };
}

/** O_CREAT of open(2), on Linux. */
const O_CREAT = 0o100;

function mortalHandle(file: FileHandle): FileHandle {
  const write = file.write.bind(file) as (...words: unknown[]) => Promise<unknown>;
  return Object.assign(file, {
    write: async (...words: [Uint8Array | string, ...number[]]) => {
      const [bytes, second = 0, length = bytes.length, fourth = 0] = words;
      const end = typeof bytes === 'string' ? second + bytes.length : fourth + length;
      mortality.step(null, end > (await file.stat()).size);
      return await write(...words);
    },
    writeFile: asStep(file.writeFile.bind(file), true),
    truncate: asStep(file.truncate.bind(file)),
  });
}

/** `node:fs`, of which each write is a step: those of targets go through here. */
export function mortalFiles(real: typeof Files): typeof Files {
  const write = (
    fd: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
    position: number,
    done: (error: Error | null, count: number) => void,
  ) => {
    const tear = () => real.writeSync(fd, bytes, offset, half(length), position);
    attempt(tear, done, () => {
      real.write(fd, bytes, offset, length, position, done);
    });
  };
  const writev = (
    fd: number,
    pieces: readonly Uint8Array[],
    position: number,
    done: (error: Error | null, count: number) => void,
  ) => {
    const tear = () => {
      const bytes = Buffer.concat(pieces);
      real.writeSync(fd, bytes, 0, half(bytes.length), position);
    };
    attempt(tear, done, () => {
      real.writev(fd, pieces, position, done);
    });
  };
  return { ...real, write, writev } as unknown as typeof Files;
}

/** A call of the kind that says by a callback how it went. */
function attempt(
  tear: () => void,
  done: (error: Error | null, count: number) => void,
  call: () => void,
): void {
  try {
    mortality.step(tear, false);
  } catch (error) {
    setImmediate(done, error as Error, 0);
    return;
  }
  call();
}

/** Half of a write, in whole sectors: no device lets less of it land. */
const half = (length: number) => Math.floor(length / 1024) * 512;

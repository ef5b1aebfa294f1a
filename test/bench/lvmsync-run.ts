import path from 'node:path';
import type { ChangedVolume } from './changed-volume.js';
import { readPeakMemory, readProcessorTime, recordedNode, timeRun } from './measure.js';

/** lvmsync as users run it. */
export const LVMSYNC = path.resolve(import.meta.dirname, '../../bin/lvmsync.js');

/** lvmsync sending a volume's changes; remembers its largest peak of memory, and what it sent. */
export class LvmsyncRun {
  /** Bytes. */
  peakMemory = 0;
  /** How long each run kept a processor busy. Seconds. */
  readonly processorSeconds: number[] = [];
  /** What went over the line the last time. */
  sentBytes = 0;

  /** @param memoryFile where the process may write its peak */
  constructor(
    private readonly volume: ChangedVolume,
    private readonly target: string,
    private readonly memoryFile: string,
    private readonly environment: NodeJS.ProcessEnv = process.env,
    private readonly options: readonly string[] = [],
  ) {}

  /** Runs once, from start to exit; resolves to the seconds that took. */
  readonly time = async (): Promise<number> => {
    const { cow, origin } = this.volume;
    const stateDir = path.join(path.dirname(this.memoryFile), 'state');
    const how = ['--json', '--state-dir', stateDir, ...this.options];
    const words = [...how, '--cow', cow, '--origin', origin, this.target];
    const environment = { ...this.environment, BENCH_MEMORY_FILE: this.memoryFile };
    const { seconds, stdout } = await timeRun([...recordedNode(LVMSYNC), ...words], environment);
    const { changedBytes, sentBytes } = JSON.parse(stdout) as { changedBytes: number; sentBytes: number };
    if (changedBytes !== this.volume.changedBytes) throw new Error(`lvmsync sent ${changedBytes} bytes`);
    this.sentBytes = sentBytes;
    this.peakMemory = Math.max(this.peakMemory, readPeakMemory(this.memoryFile));
    this.processorSeconds.push(readProcessorTime(this.memoryFile));
    return seconds;
  };
}

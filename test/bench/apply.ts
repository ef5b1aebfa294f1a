import { randomFillSync } from 'node:crypto';
import { closeSync, ftruncateSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import path from 'node:path';
import { PROTO3_LINE } from '../../src/stream/proto3.js';
import { race, sizeIn, workIn, type Bench } from './bench-run.js';
import type { Build } from './builds.js';
import { atMost, under } from './figures.js';
import { beside, byEachBuild, runLvmsyncIn } from './lvmsync-run.js';
import { timeRun } from './measure.js';
import { applyingPeers } from './peers.js';
import { scatter, sizeText } from './stores.js';
import { peakOf, timeTo, type Rival } from './turns.js';
import { findMemory } from './workplace.js';

const MIB = 2 ** 20;
/** The stream, a volume of twice its size, dd's copy, and a journal. */
const COPIES = 5.2;
/** What each record has before its bytes. */
const RECORD_HEADER = 12;
/** Less than a block: what is spoilt of each before a run. */
const SPOILT = 512;

interface Case {
  readonly block: number;
  readonly full: number;
  readonly quick: number;
  /** The most time, to dd with the journal, and to the other build without. */
  readonly toDd: number;
  readonly toOther: number;
}

/** An apply of a stream from a file, beside dd of the same bytes into a new file. */
export function benchApply64(bench: Bench): Promise<void> {
  return benchApply(bench, { block: 65_536, full: 1024 * MIB, quick: 128 * MIB, toDd: 3, toOther: 0.4 });
}

export function benchApply4(bench: Bench): Promise<void> {
  return benchApply(bench, { block: 4096, full: 512 * MIB, quick: 32 * MIB, toDd: 6, toOther: 0.3 });
}

async function benchApply(bench: Bench, { block, full, quick, toDd, toOther }: Case): Promise<void> {
  const bytes = sizeIn(bench, full, quick);
  await workIn(bench, findMemory(COPIES * bytes), async ({ folder, name }) => {
    const blocks = `scattered ${block / 1024} KiB blocks`;
    bench.report.title(`a PROTO[3] stream of ${sizeText(bytes)} in ${blocks}, from a file, ${name}`);
    const stream = new ScatteredStream(folder, block, bytes);
    const { file, target } = stream;
    const apply = (...options: readonly string[]) => {
      const words = ['--quiet', ...options, '--apply', file, target];
      return (build: Build) => stream.bringBy(() => runLvmsyncIn(folder, build, words));
    };
    const copy = path.join(folder, 'copy');
    const dd = async () => {
      rmSync(copy, { force: true });
      return timeRun(['dd', `if=${file}`, `of=${copy}`, 'bs=1M', 'conv=fdatasync', 'status=none']);
    };
    const rivals: [string, Rival][] = [
      ...byEachBuild(bench.builds, { journal: apply(), plain: apply('--no-journal') }),
      ['dd', dd],
      ...applyingPeers(bench.peers, (argv) => stream.bringBy(() => timeRun([...argv, file, target]))),
    ];
    await race(bench, rivals, [
      { what: 'time to dd, with the journal', ...timeTo('journal', 'dd'), bar: atMost(toDd) },
      { what: 'time to dd, without', ...timeTo('plain', 'dd') },
      { what: 'time with journal to without', ...timeTo('journal', 'plain') },
      { what: 'time to other build, journal', ...timeTo('journal', beside('journal')) },
      { what: 'time to other build, no journal', ...timeTo('plain', beside('plain')), bar: atMost(toOther) },
      { what: 'time to the Ruby tool, journal', ...timeTo('journal', 'the Ruby tool') },
      { what: 'time to it, no journal', ...timeTo('plain', 'the Ruby tool') },
      { what: 'peak memory', ...peakOf('near', 'journal', 'plain'), bar: under(150) },
    ]);
  });
}

/** A stream in which every other block of a volume, by chance, is one record; and a target. Paths of files. */
class ScatteredStream {
  readonly file: string;
  readonly target: string;
  private readonly units: readonly number[];

  constructor(
    folder: string,
    private readonly block: number,
    bytes: number,
  ) {
    [this.file, this.target] = [path.join(folder, 'stream'), path.join(folder, 'target.img')];
    const bits = Math.log2((2 * bytes) / block);
    const units = Array.from({ length: bytes / block }, (_, index) => scatter(index, bits));
    this.units = units.sort((a, b) => a - b);
    const [stream, target] = [openSync(this.file, 'wx'), openSync(this.target, 'wx')];
    ftruncateSync(target, 2 * bytes);
    writeSync(stream, PROTO3_LINE);
    const record = Buffer.alloc(RECORD_HEADER + block);
    for (const unit of this.units) {
      randomFillSync(record);
      writeSync(target, record, RECORD_HEADER, block, unit * block);
      record.writeBigUInt64BE(BigInt(unit * block), 0);
      record.writeUInt32BE(block, 8);
      writeSync(stream, randomFillSync(record, RECORD_HEADER));
    }
    [stream, target].forEach(closeSync);
  }

  /** A run that has to bring the stream's bytes to the target. */
  bringBy(run: Rival): Rival {
    return async () => {
      this.spoilTarget();
      const sample = await run();
      this.verify();
      return sample;
    };
  }

  /** So that no run finds what it has to bring. */
  private spoilTarget(): void {
    const target = openSync(this.target, 'r+');
    const piece = randomFillSync(Buffer.alloc(SPOILT));
    for (const unit of this.units) writeSync(target, piece, 0, SPOILT, unit * this.block);
    closeSync(target);
  }

  /** Throws unless the target has every block. */
  private verify(): void {
    const [stream, target] = [openSync(this.file, 'r'), openSync(this.target, 'r')];
    const [wanted, found] = [Buffer.alloc(this.block), Buffer.alloc(this.block)];
    this.units.forEach((unit, index) => {
      const at = PROTO3_LINE.length + index * (RECORD_HEADER + this.block) + RECORD_HEADER;
      readSync(stream, wanted, 0, this.block, at);
      readSync(target, found, 0, this.block, unit * this.block);
      if (!wanted.equals(found)) throw new Error(`${this.target}: other bytes at ${unit * this.block}`);
    });
    [stream, target].forEach(closeSync);
  }
}

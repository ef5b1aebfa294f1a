import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { brotliCompressSync, constants } from 'node:zlib';
import { exceptionsIn, statusWords } from './by-hand-cases.js';
import type { Case, Ending } from './case.js';
import { readDevice } from './direct-access.js';
import type { ChunkRun, ImageFile, NativeImage } from './image-index.js';

/** Reads what a case left, checks it against what was done, and writes its images into a folder. */
export async function capture({ name, what }: Case, ending: Ending, folder: string): Promise<NativeImage> {
  const { stage } = ending;
  const { chunkSize } = stage.plan;
  const status = ending.status ?? (await statusWords(stage.nodes.mapperName));
  const snapshot = await readSnapshot(ending);
  const origin = await readDevice(ending.volume ?? stage.nodes.volume);
  const cow = await readDevice(stage.nodes.store);
  const changed = differingChunks(stage.base, origin, chunkSize);
  const table = tableOf(ending, changed);
  const verdict = ending.verdict ?? 'valid';
  const exceptions = verdict === 'valid' ? (ending.exceptions ?? exceptionsIn(status, chunkSize)) : null;
  if (Number.isNaN(exceptions)) throw new Error(`${name}: the kernel says "${status}"`);
  if (table !== null && table.length !== exceptions) {
    throw new Error(`${name}: ${table.length} chunks written, but the kernel says "${status}"`);
  }
  const save = (part: string, bytes: Buffer): ImageFile => saveImage(folder, `${name}.${part}.br`, bytes);
  return {
    name,
    what,
    chunkSize,
    volumeSize: stage.base.length,
    verdict,
    status,
    exceptions,
    tableChunks: table === null ? null : runsOf(table),
    changedChunks: runsOf(changed),
    snapshotSha256: snapshot === null ? null : sha256(snapshot),
    base: save('base', stage.base),
    origin: save('origin', origin),
    cow: save('cow', cow),
  };
}

/** Null where the device is gone (merged) or gives errors (invalid). */
async function readSnapshot({ stage, status }: Ending): Promise<Buffer | null> {
  if (status !== undefined) return null;
  try {
    return await readDevice(stage.nodes.snapshot);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EIO') return null;
    throw error;
  }
}

function tableOf({ tableChunks, stage }: Ending, changed: readonly number[]): readonly number[] | null {
  if (tableChunks === 'as changed') return changed;
  return tableChunks === undefined ? [...stage.written].sort((a, b) => a - b) : tableChunks;
}

function differingChunks(base: Buffer, origin: Buffer, chunkSize: number): number[] {
  const chunks = Array.from({ length: Math.ceil(base.length / chunkSize) }, (_, chunk) => chunk);
  return chunks.filter((chunk) => {
    const [start, end] = [chunk * chunkSize, Math.min((chunk + 1) * chunkSize, base.length)];
    return !base.subarray(start, end).equals(origin.subarray(start, end));
  });
}

function runsOf(ascending: readonly number[]): ChunkRun[] {
  const runs: [number, number][] = [];
  for (const chunk of ascending) {
    const last = runs.at(-1);
    if (last !== undefined && last[0] + last[1] === chunk) last[1] += 1;
    else runs.push([chunk, 1]);
  }
  return runs;
}

function saveImage(folder: string, file: string, bytes: Buffer): ImageFile {
  const params = {
    [constants.BROTLI_PARAM_QUALITY]: 7,
    [constants.BROTLI_PARAM_LGWIN]: constants.BROTLI_MAX_WINDOW_BITS,
    [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
  };
  writeFileSync(path.join(folder, file), brotliCompressSync(bytes, { params }));
  return { file, size: bytes.length, sha256: sha256(bytes) };
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  loadNativeImage,
  NATIVE_IMAGES,
  NATIVE_IMAGES_FOLDER,
  unpackNativeImage,
  type ChunkRun,
} from './support/native-images.js';

const count = (runs: readonly ChunkRun[]): number => runs.reduce((sum, [, length]) => sum + length, 0);
const chunksIn = (runs: readonly ChunkRun[]): number[] =>
  runs.flatMap(([first, length]) => Array.from({ length }, (_, index) => first + index));
const digest = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

describe('the stores that a real kernel wrote', () => {
  it('are exactly those of the index, in less than 10 MiB', () => {
    const files = readdirSync(NATIVE_IMAGES_FOLDER);
    const bytes = files.reduce((sum, name) => sum + statSync(path.join(NATIVE_IMAGES_FOLDER, name)).size, 0);
    const listed = NATIVE_IMAGES.flatMap(({ base, origin, cow }) => [base.file, origin.file, cow.file]);
    expect(files.filter((name) => name.endsWith('.br')).sort()).toEqual(listed.sort());
    expect(new Set(listed).size).toBe(listed.length);
    expect(bytes).toBeLessThan(10 * 1024 * 1024);
  });

  it('cover every chunk size from 1 KiB to 512 KiB, and every verdict', () => {
    const sizes = new Set(NATIVE_IMAGES.map(({ chunkSize }) => chunkSize));
    expect([...sizes].sort((a, b) => a - b)).toEqual(Array.from({ length: 10 }, (_, power) => 1024 << power));
    expect(new Set(NATIVE_IMAGES.map(({ verdict }) => verdict)).size).toBe(3);
  });

  it.each(NATIVE_IMAGES)('$name: $what', (image) => {
    const { base, origin, cow } = loadNativeImage(image.name);
    for (const [bytes, file] of [
      [base, image.base],
      [origin, image.origin],
      [cow, image.cow],
    ] as const) {
      expect({ size: bytes.length, sha256: digest(bytes) }).toEqual({ size: file.size, sha256: file.sha256 });
    }
    expect(base.length).toBe(image.volumeSize);
    const changed = chunksIn(image.changedChunks);
    expect(differing(base, origin, image.chunkSize)).toEqual(changed);
    if (image.tableChunks !== null) {
      expect(count(image.tableChunks)).toBe(image.exceptions);
      const table = new Set(chunksIn(image.tableChunks));
      expect(changed.filter((chunk) => !table.has(chunk))).toEqual([]);
    }
    expect(image.exceptions === null).toBe(image.verdict !== 'valid');
  });

  it('unpack into files', () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'lvmsync-images-'));
    try {
      const { image, base, origin, cow } = unpackNativeImage('chunk-4k', folder);
      const digests = [base, origin, cow].map((file) => digest(readFileSync(file)));
      expect(digests).toEqual([image.base.sha256, image.origin.sha256, image.cow.sha256]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('are asked for by name', () => {
    expect(() => loadNativeImage('nobody')).toThrow('no native test image is named nobody');
  });
});

function differing(base: Buffer, origin: Buffer, chunkSize: number): number[] {
  const chunks: number[] = [];
  for (let start = 0; start < base.length; start += chunkSize) {
    const end = Math.min(start + chunkSize, base.length);
    if (!base.subarray(start, end).equals(origin.subarray(start, end))) chunks.push(start / chunkSize);
  }
  return chunks;
}

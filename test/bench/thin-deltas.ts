import { closeSync, openSync, truncateSync, writeFileSync, writeSync } from 'node:fs';

/** Neighbours of one kind are one range, so that the kinds alternate. Chunks a range, on the average. */
const KINDS = ['same', 'different', 'left_only', 'same', 'right_only'] as const;
const PIECE = 20_000;

/** How many chunks a delta of so many ranges spans. */
export function chunksOf(ranges: number): number {
  return ranges * 8;
}

/** Writes what thin_delta would print of devices 1 and 2: so many ranges; returns how many chunks changed. */
export function writeDelta(path: string, ranges: number): number {
  let changed = 0;
  writeLines(path, function* () {
    yield '<superblock uuid="" time="2" transaction="3" data_block_size="128" nr_data_blocks="0">\n';
    yield '  <diff left="1" right="2">\n';
    for (let range = 0; range < ranges; range++) {
      const kind = KINDS[range % KINDS.length] ?? 'same';
      const length = 1 + ((range * 7) % 8);
      if (kind !== 'same') changed += length;
      yield `    <${kind} begin="${range * 8}" length="${length}"/>\n`;
    }
    yield '  </diff>\n</superblock>\n';
  });
  return changed;
}

/** Writes metadata of devices 1 and 2 for thin_restore, of which each fourth chunk differs; returns how many do. */
export function writeMetadata(path: string, chunks: number): number {
  writeLines(path, function* () {
    const all = `data_block_size="128" nr_data_blocks="${chunks * 2}"`;
    yield `<superblock uuid="" time="1" transaction="1" flags="0" version="2" ${all}>\n`;
    for (const device of [1, 2]) {
      const facts = `mapped_blocks="${chunks}" transaction="0" creation_time="0" snap_time="0"`;
      yield `  <device dev_id="${device}" ${facts}>\n`;
      for (let chunk = 0; chunk < chunks; chunk++) {
        const data = chunk % 4 === 0 && device === 2 ? chunks + chunk : chunk;
        yield `    <single_mapping origin_block="${chunk}" data_block="${data}" time="0"/>\n`;
      }
      yield '  </device>\n';
    }
    yield '</superblock>\n';
  });
  return Math.ceil(chunks / 4);
}

/** An empty file in which thin_restore puts metadata. Bytes. */
export function makeRoom(path: string, bytes: number): void {
  writeFileSync(path, '');
  truncateSync(path, bytes);
}

function writeLines(path: string, lines: () => Generator<string>): void {
  const file = openSync(path, 'w');
  let piece: string[] = [];
  for (const line of lines()) {
    piece.push(line);
    if (piece.length < PIECE) continue;
    writeSync(file, piece.join(''));
    piece = [];
  }
  writeSync(file, piece.join(''));
  closeSync(file);
}

/** In what the store counts changes. Bytes. */
export const CHUNK = 8192;
const SIZE = 32 * CHUNK;

/** What a volume held in three states, one after the other. */
export const states = [1, 2, 3].map(stateOf) as [Buffer, Buffer, Buffer];

function stateOf(number: number): Buffer {
  const volume = Buffer.alloc(SIZE);
  for (let at = 0; at < SIZE; at += 16) volume.write(`block ${at}`.padEnd(15) + '\n', at, 'latin1');
  volume.fill(0, 20 * CHUNK, 22 * CHUNK);
  if (number >= 2) {
    volume.fill('second', 3 * CHUNK + 512, 3 * CHUNK + 5000, 'latin1');
    volume.fill('second', 7 * CHUNK, 9 * CHUNK, 'latin1');
    volume.fill(0, 12 * CHUNK, 13 * CHUNK);
    volume.fill('filled', 21 * CHUNK, 22 * CHUNK, 'latin1');
  }
  if (number >= 3) {
    volume.fill('third', 8 * CHUNK, 10 * CHUNK, 'latin1');
    volume.fill('third', 31 * CHUNK + 100, 31 * CHUNK + 200, 'latin1');
  }
  return volume;
}

import { createReadStream } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { ThinChanges } from '../../dist/changes/thin-changes.js';
import { readThinDelta } from '../../dist/changes/thin-delta.js';
import { readOutput } from '../../dist/host/read-output.js';
import { ProcessSpawner } from '../../dist/host/spawner.js';

// node parse-thin.js xml|metadata FILE CHUNKS: reads a delta of devices 1 and 2 as built, from a file, or as thin_delta
// prints it of a metadata file; says what came out and how long it took. Plain JavaScript, as a TypeScript loader would
// count in its memory.
const CHUNK = 65_536;
const [kind, file, chunks] = process.argv.slice(2);
const size = Number(chunks) * CHUNK;
const gathered = new ThinChanges({
  chunkSize: CHUNK,
  oldSize: size,
  newSize: size,
  hasExternalOrigin: false,
});
let ranges = 0;
const read = (output) =>
  readThinDelta(output, { left: 1, right: 2, chunkSize: CHUNK }, file, (...range) => {
    ranges += 1;
    gathered.take(...range);
  });
const started = performance.now();
if (kind === 'xml') await read(createReadStream(file));
else {
  const about = { spawner: new ProcessSpawner(process.env), signal: new AbortController().signal };
  await readOutput(
    ['thin_delta', '--thin1', '1', '--thin2', '2', file],
    'thin-provisioning-tools',
    about,
    read,
  );
}
const changes = gathered.finish();
const seconds = (performance.now() - started) / 1000;
console.log(JSON.stringify({ ranges, changed: changes.chunks.count, seconds }));

import { performance } from 'node:perf_hooks';
import { readExceptionStore } from '../../dist/changes/exception-store.js';
import { openLocalDevice } from '../../dist/device/local-device.js';

// node parse-store.js STORE buffered|direct VOLUME-SIZE: reads a store as built, says what came out and how long
// it took. Plain JavaScript, as a TypeScript loader would count in its memory.
const [path, io, size] = process.argv.slice(2);
const device = await openLocalDevice(path, { io });
const started = performance.now();
const store = await readExceptionStore(device, { trackedSize: Number(size), volumeSize: Number(size) });
const seconds = (performance.now() - started) / 1000;
await device.close();
const chunks = store.changes.chunks.count;
console.log(JSON.stringify({ exceptions: store.exceptions, chunks, seconds }));

import { writeFileSync } from 'node:fs';
import { release } from 'node:os';
import path from 'node:path';
import { BY_HAND_CASES } from './by-hand-cases.js';
import { capture } from './capture.js';
import { FILE_SYSTEM_CASES } from './file-system-cases.js';
import type { ImageIndex, NativeImage } from './image-index.js';
import { LVM_CASES } from './lvm-cases.js';
import { strike, wipeDisks } from './stage.js';

// tsx native-test-images/make-in-guest.ts FOLDER: inside the guest only, as it wipes /dev/ubda and /dev/ubdb
const [folder] = process.argv.slice(2);
if (folder === undefined || process.pid === 1) throw new Error('which FOLDER?');

const images: NativeImage[] = [];
for (const each of [...LVM_CASES, ...BY_HAND_CASES, ...FILE_SYSTEM_CASES]) {
  await wipeDisks();
  const image = await capture(each, await each.perform(), folder);
  await strike();
  images.push(image);
  console.log(`${each.name}: ${image.verdict}, "${image.status}"`);
}
writeFileSync(path.join(folder, 'index.json'), formatIndex({ kernel: release(), images }));

/** One image a line: readable in a diff, and short. */
function formatIndex({ kernel, images }: ImageIndex): string {
  const lines = images.map((image) => `  ${JSON.stringify(image)}`);
  return `{\n "kernel": ${JSON.stringify(kernel)},\n "images": [\n${lines.join(',\n')}\n ]\n}\n`;
}

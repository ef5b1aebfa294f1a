import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { brotliDecompressSync } from 'node:zlib';
import type { ImageFile, ImageIndex, NativeImage } from '../../native-test-images/image-index.js';

export type { ChunkRun, ImageFile, NativeImage } from '../../native-test-images/image-index.js';

/** The bytes of a volume before and after, and of the store that a real kernel wrote in between. */
export interface NativeImageBytes {
  readonly image: NativeImage;
  /** The release of the kernel that wrote the store. */
  readonly kernel: string;
  readonly base: Buffer;
  readonly origin: Buffer;
  readonly cow: Buffer;
}

/** The same as files. */
export interface NativeImagePaths {
  readonly image: NativeImage;
  readonly base: string;
  readonly origin: string;
  readonly cow: string;
}

/** Where the index and the compressed images lie. */
export const NATIVE_IMAGES_FOLDER = path.resolve(import.meta.dirname, '../../native-test-images');

const index = JSON.parse(readFileSync(path.join(NATIVE_IMAGES_FOLDER, 'index.json'), 'utf8')) as ImageIndex;

/** All stores that the real kernel wrote, as `native-test-images/index.json` describes them. */
export const NATIVE_IMAGES: readonly NativeImage[] = index.images;

/** Unpacks one image into memory. @throws Error where the index has none of that name. */
export function loadNativeImage(name: string): NativeImageBytes {
  const image = NATIVE_IMAGES.find((each) => each.name === name);
  if (image === undefined) throw new Error(`no native test image is named ${name}`);
  const [base, origin, cow] = [unpack(image.base), unpack(image.origin), unpack(image.cow)];
  return { image, kernel: index.kernel, base, origin, cow };
}

/** Unpacks one image into files of the caller's folder, named `NAME.base` and so on. */
export function unpackNativeImage(name: string, folder: string): NativeImagePaths {
  const { image, ...parts } = loadNativeImage(name);
  const write = (part: 'base' | 'origin' | 'cow'): string => {
    const file = path.join(folder, `${name}.${part}`);
    writeFileSync(file, parts[part]);
    return file;
  };
  return { image, base: write('base'), origin: write('origin'), cow: write('cow') };
}

function unpack({ file }: ImageFile): Buffer {
  return brotliDecompressSync(readFileSync(path.join(NATIVE_IMAGES_FOLDER, file)));
}

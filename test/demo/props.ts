import { loadNativeImage } from '../support/native-images.js';
import type { Props } from './stage.js';

/** A volume with ext4 on which a day's work was done after a snapshot, under a real kernel. */
const IMAGE = 'ext4-day';

/** The demo's volume and store, and where they come from in a few words a line. */
export function readProps(): { readonly props: Props; readonly story: readonly string[] } {
  const { image, kernel, ...props } = loadNativeImage(IMAGE);
  const story = [
    `Linux ${kernel} wrote store.cow, the exception store of an LVM snapshot:`,
    `${image.what}.`,
  ];
  return { props, story };
}

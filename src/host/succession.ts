import { readIfThere, removeDurably, writeDurably } from './durable-file.js';

/** How often a receiver looks whether it shall give way. Milliseconds. */
const LOOK_EVERY_MS = 500;

/**
 * A sender whose line broke begins anew, while the receiver of the old line may not have noticed yet and holds the
 * target. The new receiver says so in a file beside the lock, by the name of the run that both belong to, and the
 * old one gives way at the next frame. No process is ever signalled: the file works whatever the two are allowed.
 */
export async function askToGiveWay(folder: string, run: string): Promise<void> {
  await writeDurably(pathIn(folder), run);
}

/** The new receiver holds the target: nobody needs to give way any more. Throws DeviceError. */
export async function forgetAsking(folder: string): Promise<void> {
  await removeDurably(pathIn(folder));
}

/** Calls `giveWay` when another receiver of the same run wants the target. Returns what ends the watch. */
export function watchForSuccessor(folder: string, run: string, giveWay: () => void): () => void {
  const timer = setInterval(() => {
    readIfThere(pathIn(folder)).then(
      (wanted) => {
        if (wanted === run) giveWay();
      },
      // The next look may succeed.
      () => undefined,
    );
  }, LOOK_EVERY_MS);
  return () => {
    clearInterval(timer);
  };
}

function pathIn(folder: string): string {
  return `${folder}/successor`;
}

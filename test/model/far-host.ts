import { CopyingPipe } from '../support/copying-pipe.js';
import type { ByteSource } from '../../src/bytes/byte-channel.js';
import type { ChangeSource } from '../../src/changes/change-source.js';
import { runPulledSender } from '../../src/session/pulled-sender.js';
import { runSender, type FarSide } from '../../src/session/sender.js';
import { sinkFrom, sourceFrom } from '../../src/transport/stream-channel.js';
import { explainEndAfter } from '../support/far-end.js';
import { quietSurroundings } from '../support/surroundings.js';
import { SIZE } from './volume.js';

/** What the other host of the next pull is like. */
export interface FarHost {
  readonly source: ChangeSource;
  readonly clock: () => number;
  /** How many bytes come until the line breaks; null: all. */
  readonly cutAfter: number | null;
}

/** The other host of a pull: a sender in this process, behind a line that may break. */
class FarHosts {
  /** Whether the line of the last pull broke. */
  isCut = false;
  private next: FarHost | null = null;

  prepare(host: FarHost): void {
    this.next = host;
    this.isCut = false;
  }

  /** Is `startFarSide`. */
  start(words: readonly string[]): FarSide {
    const { next: host } = this;
    if (host === null) throw new Error('no host is prepared');
    const option = (name: string) => (words.includes(name) ? Number(words[words.indexOf(name) + 1]) : null);
    const blockSize = option('--block-size');
    const how = {
      ...{ proofs: !words.includes('--whole-chunks'), audit: option('--audit') },
      ...(blockSize === null ? {} : { blockSize }),
    };
    // As much is under way as there is: nobody waits for a reader that has gone.
    const [stream, replies] = [new CopyingPipe({ highWaterMark: 4 * SIZE }), new CopyingPipe()];
    const hangUp = () => {
      stream.destroy();
      replies.destroy();
    };
    const env = { ...quietSurroundings(), clock: host.clock };
    const line = { input: sourceFrom(replies, 'the receiver'), output: sinkFrom(stream, 'the receiver') };
    const outcome = runPulledSender(
      line,
      () => Promise.resolve(host.source),
      (far, source) => runSender(far, source, how, env),
    ).finally(() => {
      stream.end();
      replies.destroy();
    });
    return {
      explainEnd: explainEndAfter(),
      transport: {
        host: 'far',
        output: sinkFrom(replies, 'far'),
        input: this.cut(sourceFrom(stream, 'far'), host.cutAfter, hangUp),
        exit: outcome.then(({ error }) => ({ status: error === null ? 0 : 1, signal: null })),
        destroy: () => {
          hangUp();
          return Promise.resolve();
        },
      },
    };
  }

  private async *cut(source: ByteSource, after: number | null, hangUp: () => void): ByteSource {
    let left = after ?? Infinity;
    for await (const piece of source) {
      if (piece.length > left) {
        this.isCut = true;
        if (left > 0) yield piece.subarray(0, left);
        hangUp();
        return;
      }
      left -= piece.length;
      yield piece;
    }
  }
}

export const farHosts = new FarHosts();

import { TransportError } from '../errors.js';
import { silentProgress, type Surroundings } from '../host/surroundings.js';
import { runReceiver, type OpenForRun, type ReceiveOutcome, type ReceiverLine } from '../session/receiver.js';
import type { FarSideOf, SenderRun } from '../session/sender.js';
import type { DirectStream } from '../session/direct-stream.js';
import type { ApplyPolicy } from '../targets/apply-policy.js';
import { createLocalPipe } from '../transport/local-pipe.js';
import type { Transport } from '../transport/transport.js';

/** A far side inside this process, and how it ended. */
export interface LocalFarSide<Outcome> {
  readonly far: FarSideOf<SenderRun>;
  readonly outcome: Promise<Outcome>;
}

/**
 * Starts a receiver for a target of this host: the same session, through two pipes.
 *
 * @param direct if given, the stream goes through this, without frames
 */
export function startLocalReceiver(
  open: OpenForRun,
  policy: ApplyPolicy,
  env: Surroundings,
  direct?: DirectStream,
): LocalFarSide<ReceiveOutcome> {
  // One progress line is enough, and the sender knows more.
  const quiet = { ...env, progress: silentProgress };
  if (direct === undefined) return startLocalFarSide((line) => runReceiver(line, open, policy, quiet));
  const run = (line: ReceiverLine) => runReceiver({ ...line, direct }, open, policy, quiet);
  const { far, outcome } = startLocalFarSide(run);
  const { transport } = far;
  const output = {
    write: () => Promise.reject(new Error('bytes for a stream without frames')),
    end: () => {
      direct.cut();
      return Promise.resolve();
    },
  };
  const exit = transport.exit.then((ended) => {
    direct.break(new TransportError('the receiver has ended'));
    return ended;
  });
  const destroy = async () => {
    direct.cut();
    await transport.destroy();
  };
  return { far: { ...far, transport: { ...transport, output, exit, destroy }, direct }, outcome };
}

/** Starts a far side in this process: the same conversation, through two pipes. */
export function startLocalFarSide<Outcome extends { readonly error: Error | null }>(
  run: (line: ReceiverLine) => Promise<Outcome>,
): LocalFarSide<Outcome> {
  const frames = createLocalPipe();
  const replies = createLocalPipe();
  const outcome = run({ input: frames.source, output: replies.sink });
  const transport: Transport = {
    host: 'target',
    output: frames.sink,
    input: replies.source,
    exit: outcome.then(({ error }) => {
      // Nothing reads the frames any more: the next write must fail.
      frames.abort(new TransportError('the receiver has ended'));
      return { status: error === null ? 0 : 1, signal: null };
    }),
    destroy: () => {
      frames.abort(new TransportError('the sender gave up'));
      return Promise.resolve();
    },
  };
  const explainEnd = async () => (await outcome).error ?? new TransportError('the receiver has ended');
  return { far: { transport, explainEnd }, outcome };
}

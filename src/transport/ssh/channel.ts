import type { Duplex } from 'node:stream';
import type { Client, ClientChannel } from 'ssh2';
import { LineError, TransportError } from '../../errors.js';
import { passOnLines, type LineListener } from '../stderr-lines.js';
import { GatheringSink } from '../gathering-sink.js';
import { sinkFrom, sourceFrom } from '../stream-channel.js';
import type { FarExit, Transport } from '../transport.js';

/** ssh2 reports a write as done once the channel's window took it. This limits what the socket has not sent yet. */
const SOCKET_BACKLOG_LIMIT = 2 * 1024 * 1024;

/** The connection that a channel uses. `problem` says why it broke, once it did. */
export interface Line {
  readonly client: Client;
  readonly stream: Duplex;
  readonly cipher: string;
  readonly problem: () => string;
}

/** A running command's channel as a transport. The connection ends with the command. */
export function carryChannel(
  line: Line,
  channel: ClientChannel,
  host: string,
  onStderrLine: LineListener,
): Transport {
  const name = `the far side on ${host}`;
  const sink = sinkFrom(channel, name);
  const lineBroke = (why: string) => new LineError(`${host}: the ssh connection broke: ${why}`);
  let problem: string | null = null;
  let commandEnded = false;

  channel.once('exit', () => {
    commandEnded = true;
    // ssh2 never calls back a write that waits for a window, and emits 'close' only once stdout was read.
    sink.break(new TransportError(`${name} accepts no more data: it has ended`));
  });
  channel.once('close', () => {
    commandEnded = true;
  });
  line.client.once('close', () => {
    // ssh2 ends the channel of a broken connection as if the far side had ended it.
    if (!commandEnded) problem ??= line.problem();
    if (problem !== null) sink.break(lineBroke(problem));
  });

  return {
    host,
    cipher: line.cipher,
    output: new GatheringSink({
      write: async (piece) => {
        await sink.write(piece);
        await waitForRoom(line.stream);
      },
      end: () => sink.end(),
    }),
    input: sourceFrom(channel, name, () => {
      if (problem !== null) throw lineBroke(problem);
    }),
    exit: watchEnd(line.client, channel, () => problem, onStderrLine),
    destroy: () => {
      problem ??= 'it was cut on this side';
      line.stream.destroy();
      return Promise.resolve();
    },
  };
}

/** Resolves when the socket has sent its backlog, or is gone: the next write then reports that. */
function waitForRoom(stream: Duplex): Promise<void> {
  if (stream.writableLength <= SOCKET_BACKLOG_LIMIT || stream.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    const go = (): void => {
      stream.off('drain', go).off('close', go);
      resolve();
    };
    stream.on('drain', go).on('close', go);
  });
}

async function watchEnd(
  client: Client,
  channel: ClientChannel,
  problem: () => string | null,
  onStderrLine: LineListener,
): Promise<FarExit> {
  const ended = new Promise<FarExit>((resolve) => {
    channel.once('exit', (status: number | null, signal?: string) => {
      resolve({ status, signal: signal ?? null });
    });
    const endWithoutStatus = (): void => {
      const why = problem();
      resolve({ status: null, signal: null, ...(why === null ? {} : { problem: why }) });
    };
    channel.once('close', endWithoutStatus);
    client.once('close', endWithoutStatus);
  });
  // Stderr ends with the channel, after all of stdout has arrived here: the connection is not needed after that.
  const [exit] = await Promise.all([ended, passOnLines(channel.stderr, onStderrLine)]);
  client.end();
  return exit;
}

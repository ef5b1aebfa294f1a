import { Socket, type ConnectOpts, type SocketConstructorOpts } from 'node:net';
import type { ByteSource } from '../bytes/byte-channel.js';
import { describeCause, TransportError } from '../errors.js';

const PIECE = 256 * 1024;
/** Used in turn: the consumer has one, the pipe fills another, the rest wait between them. */
const PIECES = 4;

/**
 * Reads a pipe into the same few buffers again and again: a Node stream would allocate new memory for every 64 KiB. If
 * the consumer leaves early, the rest of the pipe is read and dropped, so that its writer can finish normally.
 */
export class PipeSource implements ByteSource {
  private readonly buffers = Array.from({ length: PIECES }, () => Buffer.allocUnsafeSlow(PIECE));
  private readonly ready: Buffer[] = [];
  private readonly socket: Socket;
  private next = 0;
  private isHeld = false;
  private isPaused = false;
  private isLeft = false;
  private end: 'none' | 'clean' | Error = 'none';
  private wake: () => void = () => undefined;

  /** @param name the name of the pipe in errors */
  constructor(
    fd: number,
    private readonly name: string,
  ) {
    const onread: NonNullable<ConnectOpts['onread']> = {
      buffer: () => this.buffers[this.next++ % PIECES] ?? Buffer.alloc(0),
      callback: (length: number, buffer: Uint8Array) => this.take(Buffer.from(buffer.buffer, 0, length)),
    };
    const options: SocketConstructorOpts & ConnectOpts = {
      fd,
      readable: true,
      writable: false,
      onread,
    };
    this.socket = new Socket(options);
    this.socket.once('end', () => {
      this.finish('clean');
    });
    this.socket.on('error', (error) => {
      this.finish(error);
    });
    this.socket.once('close', () => {
      this.finish(new Error('it was closed too early'));
    });
    this.socket.resume();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, undefined> {
    try {
      for (;;) {
        while (this.ready.length === 0 && this.end === 'none') {
          await new Promise<void>((resolve) => (this.wake = resolve));
        }
        const piece = this.ready.shift();
        if (piece === undefined) {
          if (!(this.end instanceof Error)) return;
          const problem = describeCause(this.end);
          throw new TransportError(`reading from ${this.name} failed: ${problem}`, { cause: this.end });
        }
        this.isHeld = true;
        yield piece;
        this.isHeld = false;
        this.readOn();
      }
    } finally {
      this.isLeft = true;
      this.readOn();
    }
  }

  /** False if the only free buffer is the one that the next read fills. */
  private take(piece: Buffer): boolean {
    if (this.isLeft) return true;
    this.ready.push(piece);
    this.wake();
    this.isPaused = this.ready.length + (this.isHeld ? 1 : 0) >= PIECES - 1;
    return !this.isPaused;
  }

  private readOn(): void {
    if (!this.isPaused) return;
    this.isPaused = false;
    this.socket.resume();
  }

  private finish(end: 'clean' | Error): void {
    if (this.end === 'none') this.end = end;
    this.wake();
  }
}

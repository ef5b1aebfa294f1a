import { spawn } from 'node:child_process';
import { once } from 'node:events';

/** Another process that keeps writing to a device. */
export interface Writer {
  /** Lets it end after its last write is on the device. */
  stop(): Promise<void>;
}

/**
 * Starts a process that overwrites 4 KiB blocks all over a device, some hundreds a second, each with other
 * bytes. It holds the device open and syncs every few writes. Resolves when it has begun.
 */
export async function startWriter(device: string, size: number): Promise<Writer> {
  const child = spawn(process.execPath, ['-e', WRITER, device, String(size)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  return {
    stop: async () => {
      const exited = once(child, 'exit');
      child.stdin.end();
      const [status] = (await exited) as [number | null];
      if (status !== 0) throw new Error(`the writer ended with ${status ?? 'a signal'}`);
    },
  };
}

const WRITER = `
  const fs = require('node:fs');
  const [, device, size] = process.argv;
  const fd = fs.openSync(device, 'r+');
  const bytes = require('node:crypto').randomBytes(4096);
  let count = 0;
  const timer = setInterval(() => {
    for (let i = 0; i < 8; i++) {
      bytes.writeUInt32LE(count++, 0);
      fs.writeSync(fd, bytes, 0, 4096, 4096 * Math.floor(Math.random() * (size / 4096)));
    }
    fs.fdatasyncSync(fd);
    if (count === 8) process.stdout.write('begun');
  }, 20);
  process.stdin.resume().on('end', () => {
    clearInterval(timer);
    fs.closeSync(fd);
  });
`;

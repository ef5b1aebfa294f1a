import { expect } from 'vitest';
import { piecesOf } from './device-bytes.js';

/** Two devices must hold the same bytes, and be equally large. */
export async function expectSameBytes(device: string, other: string): Promise<void> {
  const others = piecesOf(other);
  try {
    let offset = 0;
    for await (const piece of piecesOf(device)) {
      const { value = Buffer.alloc(0) } = await others.next();
      expect(piece, `${device}, as ${other}, from byte ${offset} on`).toBeBytes(value);
      offset += piece.length;
    }
    expect((await others.next()).done, `${other} ends where ${device} does`).toBe(true);
  } finally {
    await others.return(undefined);
  }
}

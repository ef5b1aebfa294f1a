import { describe, expect, it } from 'vitest';
import { encodeHello, type HelloMessage } from '../../src/session/messages.js';
import { FRAME_HEADER_LENGTH, parseFrameHeader } from '../../src/stream/frame-format.js';
import { CHUNK } from '../support/change-source.js';
import {
  frozenSource,
  itemsOf,
  LastingTarget,
  newState,
  oldState,
  SCENE,
  setUpTargets,
} from '../support/scenes/broken-sessions.js';

setUpTargets();

describe('a receiver that lies about what it holds', () => {
  /** The receiver's hello with another token. */
  function withToken(change: (token: string) => string) {
    return async function* (replies: AsyncIterable<Uint8Array>) {
      for await (const piece of replies) yield rewriteHello(Buffer.from(piece), change);
    };
  }
  const inToken = (change: (token: Record<string, unknown>) => object) => (token: string) =>
    Buffer.from(
      JSON.stringify(change(JSON.parse(Buffer.from(token, 'base64').toString()) as Record<string, unknown>)),
    ).toString('base64');

  it.each([
    ['a place behind the truth', inToken((token) => ({ ...token, offset: 29 * CHUNK }))],
    ['a place past the end', inToken((token) => ({ ...token, offset: 2 ** 50 }))],
    ['a place in the middle of a block', inToken((token) => ({ ...token, offset: 9 * CHUNK + 512 }))],
    ['more of the table', inToken((token) => ({ ...token, chunks: 10_000 }))],
    ['less of the table', inToken((token) => ({ ...token, chunks: 1 }))],
    ['another stream', inToken((token) => ({ ...token, key: 'ab'.repeat(32) }))],
    ['no token at all', () => Buffer.from('{"key":').toString('base64')],
    ['that all is there', () => ''],
  ])('is sent everything: %s', async (_name, change) => {
    const target = new LastingTarget(oldState(SCENE).bytes);
    expect((await target.session(frozenSource(SCENE), { cutAfter: 20_000 })).summary).toBeNull();
    const again = await target.session(frozenSource(SCENE), { tamper: withToken(change) });
    expect(again.error).toBeNull();
    expect(again.summary?.resumedBytes).toBe(0);
    expect(await itemsOf(again.frames)).not.toContain('resume');
    expect(target.device.bytes).toBeBytes(newState(SCENE));
  });

  it('with the token of another stream of its own is sent everything', async () => {
    const other = { ...SCENE, table: [...SCENE.table, 2] };
    const elsewhere = new LastingTarget(oldState(other).bytes);
    await elsewhere.session(frozenSource(other), { cutAfter: 20_000 });
    let token = '';
    const listen = withToken((said) => (token = said));
    await elsewhere.session(frozenSource(other), { tamper: listen, cutAfter: 20_000 });
    expect(token).not.toBe('');
    const target = new LastingTarget(oldState(SCENE).bytes);
    await target.session(frozenSource(SCENE), { cutAfter: 20_000 });
    const again = await target.session(frozenSource(SCENE), { tamper: withToken(() => token) });
    expect(again.summary?.resumedBytes).toBe(0);
    expect(target.device.bytes).toBeBytes(newState(SCENE));
  });
});

function rewriteHello(piece: Buffer, change: (token: string) => string): Buffer {
  const at = piece.indexOf('{"version"');
  if (at < 0) return piece;
  const start = at - FRAME_HEADER_LENGTH;
  const header = parseFrameHeader(piece.subarray(start), 'hello', start);
  const hello = JSON.parse(piece.toString('utf8', at, at + header.payloadLength)) as HelloMessage;
  const changed = encodeHello(
    { ...hello, resume: hello.resume === null ? null : change(hello.resume) },
    header.number,
  );
  const end = at + header.payloadLength + 4;
  return Buffer.concat([piece.subarray(0, start), changed, piece.subarray(end)]);
}

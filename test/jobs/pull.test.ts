import { mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { TransportError } from '../../src/errors.js';
import { pull } from '../../src/jobs/pull.js';
import type { Reach } from '../../src/reach/far-side.js';
import { encodeResult } from '../../src/session/messages.js';
import { FrameWriter } from '../../src/stream/frame-writer.js';
import { DEFAULT_POLICY } from '../../src/targets/apply-policy.js';
import { openTarget } from '../../src/targets/open-target.js';
import { PLAIN_FAR_COMMAND } from '../../src/transport/remote-command.js';
import { defaultSshSettings } from '../../src/transport/ssh/index.js';
import { patterned } from '../support/blocks.js';
import { someHeader } from '../support/scenes/feed.js';
import { collectingSink } from '../support/streams.js';
import { quietSurroundings } from '../support/surroundings.js';

const SIZE = 64 * 1024;
const BASE = patterned(SIZE);
const CHANGED = Buffer.from(BASE).fill('new', 4096, 12_288);

let place = '';
let target = '';
const at = (name: string) => path.join(place, name);
beforeEach(async () => {
  place = realpathSync(mkdtempSync(path.join(tmpdir(), 'pull-job-')));
  target = at('target');
  writeFileSync(target, BASE);
  const stream = await streamOfChanges();
  const word = { tableBytes: 0, changedBytes: 8192, resumedBytes: 0, volumeSize: SIZE };
  const last = encodeResult({ ok: true, blocks: 1, ...word, consistent: true, codec: null }, 0);
  writeFileSync(at('whole'), Buffer.concat([stream, last]));
  writeFileSync(at('part'), stream.subarray(0, stream.length - 500));
});
afterEach(() => {
  rmSync(place, { recursive: true });
});

async function streamOfChanges(): Promise<Buffer> {
  const sink = collectingSink();
  const writer = new FrameWriter(sink);
  await writer.start(someHeader(SIZE));
  await writer.data(4096, CHANGED.subarray(4096, 12_288));
  await writer.finish();
  return sink.bytes();
}

/** A remote shell whose lines each say a file and end with a status, one after the other. */
function linesThat(...lines: readonly (readonly [file: string, status: number])[]): Reach {
  const cases = lines.map(
    ([file, status], index) => `${index}) cat ${file}; [ ${status} = 0 ] || exit ${status}; cat >/dev/null;;`,
  );
  const script = `cd ${place}; n=$(cat count 2>/dev/null || echo 0); echo $((n + 1)) >count; case $n in ${cases.join('\n')} esac`;
  writeFileSync(at('rsh'), script);
  const ssh = defaultSshSettings('/nonexistent', 'nobody', null);
  return { rsh: ['sh', at('rsh')], ssh, command: PLAIN_FAR_COMMAND, retries: 5 };
}

/** Nobody holds it any more, this process neither. */
async function expectFree(): Promise<void> {
  const options = { stateDir: at('state'), what: 'a test', sources: [], allowed: null };
  await (await openTarget(target, options, quietSurroundings())).close();
}

describe('a pull whose line breaks', () => {
  it('again before its stream has begun is pulled over a third line', async () => {
    const { outcome, notices } = await pullBy(linesThat(['part', 255], ['/dev/null', 255], ['whole', 0]));
    expect(notices.filter((line) => line.includes('trying again'))).toEqual([
      expect.stringMatching(/far: .*; trying again in 1 s \(1 of 5\)$/),
      expect.stringMatching(/far: .*; trying again in 4 s \(2 of 5\)$/),
    ]);
    expect(outcome).toMatchObject({ blocks: 1, changedBytes: 8192 });
    expect(readFileSync(target)).toBeBytes(CHANGED);
    await expectFree();
  }, 30_000);

  it('before anything came leaves the target as it was, and free for others', async () => {
    const { outcome } = await pullBy(linesThat(['/dev/null', 255]));
    expect(outcome).toBeInstanceOf(TransportError);
    expect(readFileSync(target)).toBeBytes(BASE);
    await expectFree();
  });

  it('before it could be started does so, too', async () => {
    const { outcome } = await pullBy({ ...linesThat(), rsh: ['/nonexistent/rsh'] });
    expect(outcome).toMatchObject({ code: 'COMMAND' });
    await expectFree();
  });
});

async function pullBy(reach: Reach) {
  const env = { ...quietSurroundings(), stateDir: at('state') };
  const spec = {
    host: { host: 'far', user: null, port: null },
    snapshot: 'vg/snap',
    dataSource: null,
    isQuiesced: false,
  };
  const pulling = pull(spec, { path: target, policy: DEFAULT_POLICY }, { reach, how: { proofs: true } }, env);
  const outcome = await pulling.catch((error: unknown) => error);
  return { outcome, notices: env.notices };
}

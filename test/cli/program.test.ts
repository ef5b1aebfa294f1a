import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CopyingPipe } from '../support/copying-pipe.js';
import type { Context } from '../../src/cli/context.js';
import { runProgram } from '../../src/cli/program.js';
import { ProcessSpawner } from '../../src/host/spawner.js';
import { defaultSshSettings } from '../../src/transport/ssh/index.js';
import { plainProcess } from '../support/run-program.js';
import { sourceOf } from '../support/streams.js';
import { quietSurroundings } from '../support/surroundings.js';
import { makeStore } from '../support/synthetic-store.js';

const CHUNK = 4096;
const VOLUME = 40 * CHUNK;
const CHANGED = [3, 4, 9, 39];
let folder: string;
const at = (name: string) => join(folder, name);

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-cli-'));
  const base = Buffer.alloc(VOLUME, 'base ');
  const origin = Buffer.from(base);
  for (const chunk of CHANGED) origin.fill('new! ', chunk * CHUNK, (chunk + 1) * CHUNK);
  origin.fill(0, 9 * CHUNK, 10 * CHUNK);
  const exceptions = [39, 3, 9, 4].map((oldChunk) => ({ oldChunk }));
  writeFileSync(at('base'), base);
  writeFileSync(at('origin'), origin);
  writeFileSync(at('cow'), makeStore({ chunkSectors: 8, exceptions, base }));
  writeFileSync(at('invalid'), makeStore({ chunkSectors: 8, exceptions, header: { valid: 0 } }));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

interface Outcome {
  readonly status: number;
  readonly stdout: Buffer;
  readonly said: string;
}

const sources = () => ['--cow', at('cow'), '--origin', at('origin')];

function freshTarget(name: string): string {
  writeFileSync(at(name), readFileSync(at('base')));
  return at(name);
}

/** A target must hold what one of the files holds. */
function expectEqual(target: string, name: 'origin' | 'base'): void {
  expect(readFileSync(target)).toBeBytes(readFileSync(at(name)));
}

describe('a transfer between files', () => {
  it('makes the target equal to the origin, and says what it took', async () => {
    const target = freshTarget('t1');
    const { status, stdout } = await run([...sources(), target, '--json']);
    expect(status).toBe(0);
    expect(JSON.parse(stdout.toString())).toEqual({
      ...{ tableBytes: 4 * CHUNK, changedBytes: 4 * CHUNK, resumedBytes: 0 },
      sentBytes: expect.any(Number) as number,
      blocks: 3,
      seconds: expect.any(Number) as number,
      source: at('cow'),
      target,
      ...{ consistent: true, quiesced: false },
      mismatches: 0,
      ...{ suspect: null, verified: { bytes: 0, share: 0, since: null }, codec: null },
    });
    expectEqual(target, 'origin');
  });

  it('keeps a snapback that takes the target back, and forward again', async () => {
    const target = freshTarget('t2');
    const first = await run([...sources(), target, '--snapback', at('undo')]);
    expect([first.status, first.said]).toEqual([
      0,
      expect.stringMatching(/16 KiB changed \(10.0 % of 160 KiB\)/),
    ]);
    const back = await run(['--apply', at('undo'), '-b', at('redo'), target]);
    expect(back.status).toBe(0);
    expectEqual(target, 'base');
    expect((await run(['-a', at('redo'), target])).status).toBe(0);
    expectEqual(target, 'origin');
  });

  it.each([['4'], ['3']])('goes through a pipe in PROTO[%s]', async (protocol) => {
    const target = freshTarget(`pipe${protocol}`);
    const sent = await run([...sources(), '--stdout', 'ignored:as/ever', '--protocol', protocol]);
    expect([sent.status, sent.stdout.toString('latin1', 0, 17)]).toEqual([0, `lvmsync PROTO[${protocol}]\n`]);
    const applied = await run(['--apply', '-', target], sent.stdout);
    expect(applied.status).toBe(0);
    expectEqual(target, 'origin');
    expect(applied.said.includes('nothing proves that the stream was complete')).toBe(protocol === '3');
    const server = await run(['--server', freshTarget('server')], sent.stdout);
    expect(server.status).toBe(0);
    expectEqual(at('server'), 'origin');
  });

  it('never truncates or extends a larger target', async () => {
    const target = at('larger');
    writeFileSync(target, Buffer.concat([readFileSync(at('base')), Buffer.alloc(10_000, 'rest')]));
    expect((await run([...sources(), target])).status).toBe(0);
    expect(statSync(target).size).toBe(VOLUME + 10_000);
    expect(readFileSync(target).subarray(VOLUME)).toBeBytes(Buffer.alloc(10_000, 'rest'));
  });
});

describe('what goes wrong', () => {
  it.each([
    ['a cut stream', -100, 5],
    ['a cut end frame', -1, 5],
  ])('%s is refused', async (_name, end, expected) => {
    const { stdout } = await run([...sources(), '--stdout']);
    const { status, said } = await run(['--apply', '-', freshTarget('cut')], stdout.subarray(0, end));
    expect([status, said]).toEqual([
      expected,
      expect.stringMatching(/nothing was written to it[^]*cut short at byte/),
    ]);
  });

  it('a damaged stream is refused', async () => {
    const { stdout } = await run([...sources(), '--stdout']);
    stdout[stdout.length >> 1] = (stdout[stdout.length >> 1] ?? 0) ^ 1;
    const { status, said } = await run(['--apply', '-', freshTarget('flip')], stdout);
    expect([status, said]).toEqual([6, expect.stringMatching(/checksum is wrong/)]);
  });

  it('trailing bytes are refused', async () => {
    const { stdout } = await run([...sources(), '--stdout']);
    const input = Buffer.concat([stdout, Buffer.from('x')]);
    const { status } = await run(['--apply', '-', freshTarget('tail')], input);
    expect(status).toBe(6);
  });

  it('a target that is too small is refused, and untouched', async () => {
    writeFileSync(at('small'), Buffer.alloc(VOLUME - 512, 'x'));
    const { status, said } = await run([...sources(), at('small')]);
    expect([status, said]).toEqual([3, expect.stringMatching(/small: too small/)]);
    expect(readFileSync(at('small'))).toBeBytes(Buffer.alloc(VOLUME - 512, 'x'));
  });

  it('an invalid snapshot is refused', async () => {
    const { status, said } = await run(['--cow', at('invalid'), '--origin', at('origin'), freshTarget('t3')]);
    expect([status, said]).toEqual([4, expect.stringMatching(/invalid: its store filled up/)]);
    expectEqual(at('t3'), 'base');
  });

  it('a target that does not exist is not made', async () => {
    const { status, said } = await run([...sources(), at('nowhere')]);
    expect([status, said]).toEqual([
      8,
      expect.stringMatching(/nowhere: .*ENOENT.*does not create targets: create/),
    ]);
    expect(existsSync(at('nowhere'))).toBe(false);
  });

  it('an existing snapback is refused', async () => {
    writeFileSync(at('keep'), 'keep');
    const { status } = await run([...sources(), freshTarget('t4'), '-b', at('keep')]);
    expect([status, readFileSync(at('keep'), 'utf8')]).toEqual([2, 'keep']);
    expectEqual(at('t4'), 'base');
  });

  it.each([
    [[], /missing argument: SNAPSHOT/],
    [['vg/s'], /missing argument: \[HOST:\]TARGET/],
    [['vg/s', 'a', 'b'], /unexpected argument: b/],
    [['--cow', 'x', 'y'], /--cow FILE and --origin FILE must be used together/],
    [['-v', 'inspect', 'vg/s'], /write \.\/inspect/],
    [['vg/s', 'verify'], /write \.\/verify/],
    [['verify', 'a'], /missing required argument 'B'/],
    [['verify', 'a', 'b', 'c'], /too many arguments/],
    [['verify', 'h:a', 'b'], /h:a: A must be on this host/],
    [['verify', 'a', 'b', '--audit', '0'], /--audit 0: expected a percentage, more than 0/],
    [['verify', 'a', 'b', '--audit', '100.5'], /--audit 100\.5: .*at most 100/],
    [['verify', 'a', 'b', '--audit', '1e1'], /--audit 1e1: expected a percentage/],
    [['receive', '--read-only', '-b', 'x', 'y'], /--snapback cannot be used with --read-only/],
    [['replicate', 'a', 'b'], /replicate: this version does not have that command/],
    [['--stdout', 'vg/s', '-b', 'x'], /--snapback cannot be used with --stdout/],
    [['--stdout', 'vg/s', '--json'], /--json cannot be used with --stdout/],
    [['--apply', 'x', '-r', 'y', 'z'], /--data-source cannot be used with --apply/],
    [['--apply', 'x'], /--apply needs a TARGET/],
    [['--apply', 'x', 'y', 'z'], /unexpected argument: z/],
    [['vg/s', '/dev/x', '--protocol', '3'], /--protocol 3 needs --stdout/],
    [['vg/s', '/dev/x', '--protocol', '5'], /Allowed choices are 3, 4/],
    [['vg/s', '/dev/x', '--nonsense'], /unknown option '--nonsense'/],
    [['vg/s', '-oProxyCommand=x:/dev/x'], /unknown option/],
    [['vg/s', 'host:'], /host:/],
    [['inspect'], /missing argument: SNAPSHOT, FILE/],
    [['inspect', 'x', '--extents'], /--extents needs --json/],
    [['inspect', '--origin', 'x'], /--origin needs --cow/],
  ])('nonsense on the command line: %j', async (words, message) => {
    const { status, said, stdout } = await run(words);
    expect([status, stdout.length]).toEqual([2, 0]);
    expect(said).toMatch(message);
    expect(said).not.toContain('\n');
  });
});

describe('inspect', () => {
  const inspect = async (...words: string[]) => {
    const { status, stdout } = await run(['inspect', ...words, '--json']);
    return { status, json: JSON.parse(stdout.toString()) as Record<string, unknown> };
  };

  it('shows what changed', async () => {
    const { status, json } = await inspect('--cow', at('cow'), '--origin', at('origin'), '--extents');
    expect(status).toBe(0);
    expect(json).toMatchObject({
      type: 'dm-snapshot',
      valid: true,
      chunkSize: CHUNK,
      exceptions: 4,
      volumeSize: VOLUME,
      changedBytes: 4 * CHUNK,
      extents: [
        [3 * CHUNK, 2 * CHUNK],
        [9 * CHUNK, CHUNK],
        [39 * CHUNK, CHUNK],
      ],
    });
  });

  it('recognizes a store by its first bytes, and then knows no volume size', async () => {
    const { json } = await inspect(at('cow'));
    expect(json).toMatchObject({
      type: 'dm-snapshot',
      valid: true,
      volumeSize: null,
      changedBytes: 4 * CHUNK,
    });
    expect(json).not.toHaveProperty('extents');
  });

  it('gives the reason for an invalid store, and nothing that could be mistaken for changes', async () => {
    const { status, json } = await inspect('--cow', at('invalid'));
    expect(status).toBe(4);
    expect(json).toEqual({
      type: 'dm-snapshot',
      valid: false,
      reason: expect.stringMatching(/invalid/) as string,
    });
  });

  it('reads a stream to its end', async () => {
    const { stdout } = await run([...sources(), '--stdout']);
    writeFileSync(at('stream'), stdout);
    const whole = await inspect(at('stream'));
    expect([whole.status, whole.json]).toMatchObject([
      0,
      { type: 'stream', protocol: 4, whole: true, blocks: 3 },
    ]);
    writeFileSync(at('stream'), stdout.subarray(0, -1));
    const cut = await inspect(at('stream'));
    expect([cut.status, cut.json]).toMatchObject([
      5,
      { whole: false, blocks: 3, reason: expect.stringMatching(/cut/) as string },
    ]);
    const { stdout: ruby } = await run([...sources(), '--stdout', '--protocol', '3']);
    writeFileSync(at('stream'), ruby);
    expect((await inspect(at('stream'))).json).toMatchObject({ protocol: 3, whole: null, blocks: 3 });
  });

  it('names what it looked at only once, valid or not', async () => {
    const invalid = await run(['inspect', '--cow', at('invalid')]);
    const [title, reason] = invalid.stdout.toString().split('\n');
    expect([invalid.status, title]).toEqual([4, `${at('invalid')}: NOT VALID`]);
    expect(reason).toMatch(/^ {2}reason {6}the snapshot is invalid: its store filled up/);
    const none = await run(['inspect', '/dev/null', '--json']);
    expect([none.status, none.stdout.length, none.said]).toEqual([
      4,
      0,
      expect.stringMatching(/^\/dev\/null: not a block device/),
    ]);
  });

  it('reports a file that is neither a store nor a stream', async () => {
    writeFileSync(at('text'), 'hello world');
    const { status, said } = await run(['inspect', at('text')]);
    expect([status, said]).toEqual([
      2,
      expect.stringMatching(/neither an lvmsync stream nor an exception store/),
    ]);
  });

  it('says what changed in words, too', async () => {
    const { stdout } = await run(['inspect', ...sources()]);
    expect(stdout.toString()).toMatch(/exceptions {2}4\n {2}changed {5}16 KiB, 10.0 % of 160 KiB\n/);
  });
});

/** Runs the words with a stdout and stderr of their own. */
async function run(words: readonly string[], input: Uint8Array = new Uint8Array()): Promise<Outcome> {
  const stdout = new CopyingPipe();
  const pieces: Buffer[] = [];
  stdout.on('data', (piece: Buffer) => pieces.push(piece));
  const lines: string[] = [];
  const say = (line: string) => lines.push(line);
  const context: Context = {
    ...{ input: () => sourceOf(input), stdout, say, version: '0.0.0-test', ...plainProcess },
    ssh: () => defaultSshSettings(folder, 'nobody', null),
    surroundings: () => ({
      ...quietSurroundings(new ProcessSpawner(process.env)),
      stateDir: at('state'),
      notice: say,
    }),
  };
  const status = await runProgram(words, context);
  return { status, stdout: Buffer.concat(pieces), said: lines.join('\n') };
}

import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { FrameWriter } from '../../src/stream/frame-writer.js';
import type { StreamHeader } from '../../src/stream/stream-header.js';
import { runWords } from '../support/run-program.js';
import { collectingSink } from '../support/streams.js';
import { makeStore } from '../support/synthetic-store.js';

const CHUNK = 4096;
let folder = '';
const at = (name: string) => `${folder}/${name}`;
const base = Buffer.alloc(8 * CHUNK, 'base ');
const changed = Buffer.from(base);
changed.fill('new! ', 3 * CHUNK, 4 * CHUNK);
let stream: Uint8Array = Buffer.alloc(0);
let fullStream: Uint8Array = Buffer.alloc(0);

/** The header of what a scan sends. */
const compared = { kind: 'full', compared: true, expectedBytes: 0 } as const;

beforeAll(async () => {
  folder = mkdtempSync(`${tmpdir()}/lvmsync-locked-`);
  for (const name of ['in', 'out', 'undo']) mkdirSync(at(name));
  writeFileSync(at('cow'), makeStore({ chunkSectors: 8, exceptions: [{ oldChunk: 3 }], base }));
  writeFileSync(at('origin'), changed);
  stream = (await runWords(['--cow', at('cow'), '--origin', at('origin'), '--stdout'])).stdout;
  fullStream = await streamOf({ kind: 'full', expectedBytes: changed.length }, changed);
  symlinkSync(at('out/vm'), at('in/link'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});
beforeEach(() => {
  for (const name of ['in/vm', 'out/vm', "in/it's $(x)\n"]) writeFileSync(at(name), base);
  rmSync(at('state'), { recursive: true, force: true });
});

/** A session as sshd starts it: these words in authorized_keys, those from the client. */
function serve(command: string | null, ...more: readonly string[]) {
  return serveStream(stream, command, ...more);
}

async function serveStream(input: Uint8Array, command: string | null, ...more: readonly string[]) {
  const words = ['receive', '--restrict', '--allow', at('in/*'), '--state-dir', at('state'), ...more];
  const { status, stdout, said } = await runWords(words, input, command);
  return { status, said, reply: stdout.toString('latin1') };
}

describe('a locked-down receiver', () => {
  it('tells a doctor about its state directory, and nothing that names targets or runs', async () => {
    mkdirSync(at('state/targets/LVM-secret'), { recursive: true });
    writeFileSync(at('state/targets/LVM-secret/apply.json'), '{"log":"journal","snapback":null}');
    const doctor = await serveStream(Buffer.from('\n'), 'lvmsync doctor --answer');
    expect(doctor.status).toBe(0);
    const [report = ''] = doctor.reply.split('\n');
    const { findings } = JSON.parse(report) as { findings: { check: string; text: string }[] };
    const state = findings.find(({ check }) => check === 'state directory');
    expect(state?.text).toContain(at('state'));
    expect(findings.map(({ check }) => check)).not.toContain('left over');
    expect(report).not.toMatch(/secret/);
  });

  it('writes into a target that is allowed, whatever its name', async () => {
    expect(await serve(`'lvmsync' receive -- ${at('in/vm')}`)).toMatchObject({ status: 0, said: [] });
    expect(readFileSync(at('in/vm'))).toBeBytes(changed);
    const odd = `'sudo' -n -- lvmsync receive -- '${at("in/it'\\''s $(x)\n")}'`;
    expect(await serve(odd)).toMatchObject({ status: 0 });
    expect(readFileSync(at("in/it's $(x)\n"))).toBeBytes(changed);
  });

  it.each([
    ['another file', 'out/vm'],
    ['a way up', 'in/../out/vm'],
    ['a link that leads out', 'in/link'],
    ['a folder', 'in'],
    ['what does not exist', 'in/none'],
    ['what does not exist outside', 'out/none'],
  ])('refuses %s in the same words, and makes nothing for it', async (_what, name) => {
    const { status, reply, said } = await serve(`'lvmsync' receive -- ${at(name)}`);
    expect(status).toBe(3);
    expect(said).toEqual([]);
    expect(reply).toContain('"code":"UNSAFE_TARGET"');
    expect(reply).toContain(`${name}: not among the targets that this receiver allows"`);
    expect(readFileSync(at('out/vm'))).toBeBytes(base);
    expect(existsSync(at('state'))).toBe(false);
    const asked = await serve(`'lvmsync' receive --read-only -- ${at(name)}`);
    expect(asked.reply).toContain('not among the targets');
  });

  it('treats a line break in a name as part of it, and no line of it as a name or a command', async () => {
    const broken = 'in/vm\ntouch pwned';
    // One of its lines is what is allowed.
    const within = `out/x\n${at('in')}`;
    mkdirSync(at(within), { recursive: true });
    for (const name of [broken, `${within}/vm`]) writeFileSync(at(name), base);
    expect(await serve(`'lvmsync' receive -- '${at(broken)}'`)).toMatchObject({ status: 0, said: [] });
    expect(readFileSync(at(broken))).toBeBytes(changed);
    for (const name of [`${within}/vm`, `in/vm\n${at('out/vm')}`, `out/vm\n`, `\n${at('in/vm')}`]) {
      const { status, said, reply } = await serve(`'lvmsync' receive -- '${at(name)}'`);
      expect([status, said]).toEqual([3, []]);
      expect(reply).toContain('not among the targets that this receiver allows"');
    }
    for (const name of ['in/vm', 'out/vm', `${within}/vm`]) expect(readFileSync(at(name))).toBeBytes(base);
  });

  it('refuses in the session what the client may not decide', async () => {
    const { status, reply } = await serve(`'lvmsync' receive --state-dir /tmp -- ${at('in/vm')}`);
    expect(status).toBe(2);
    expect(reply).toContain('its clients cannot use --state-dir');
    expect(readFileSync(at('in/vm'))).toBeBytes(base);
  });

  it('keeps snapbacks in its own folder, if it has one', async () => {
    const command = `'lvmsync' receive --snapback vm.undo -- ${at('in/vm')}`;
    expect((await serve(command)).reply).toContain('no directory for --snapback');
    expect((await serve(command, '--snapback-dir', at('undo'))).status).toBe(0);
    expect(existsSync(at('undo/vm.undo'))).toBe(true);
    const away = await serve(
      `'lvmsync' receive --snapback ../in/x -- ${at('in/vm')}`,
      '--snapback-dir',
      at('undo'),
    );
    expect(away.reply).toContain('plain file name');
  });

  it('that requires a snapback refuses changes without one, and says what to add', async () => {
    const insisting = ['--snapback-dir', at('undo'), '--require-snapback'];
    const { status, reply } = await serve(`'lvmsync' receive -- ${at('in/vm')}`, ...insisting);
    expect(status).toBe(2);
    expect(reply).toContain('this receiver requires a snapback: add --snapback NAME (copy and verify');
    expect(reply).toContain('lvmsync --scan SOURCE HOST:TARGET --snapback NAME)"');
    expect(readFileSync(at('in/vm'))).toBeBytes(base);
    const asked = await serve(`'lvmsync' receive --snapback insisted -- ${at('in/vm')}`, ...insisting);
    expect(asked).toMatchObject({ status: 0, said: [] });
    expect(readFileSync(at('in/vm'))).toBeBytes(changed);
    expect(existsSync(at('undo/insisted'))).toBe(true);
    const verify = await serve(`'lvmsync' receive --read-only -- ${at('in/vm')}`, ...insisting);
    expect(verify.reply).toContain('"digests":');
    expect(verify.reply).not.toContain('requires');
  });

  it('that may only be asked refuses changes, whatever else it allows', async () => {
    const command = `'lvmsync' receive --dry-run -- ${at('in/vm')}`;
    const { status, reply } = await serve(command);
    expect(status).toBe(2);
    expect(reply).toContain('this receiver only says what it would do: add --dry-run');
    expect(readFileSync(at('in/vm'))).toBeBytes(base);
  });

  it('that requires a snapback is not tricked by a stream that announces nothing and then sends something', async () => {
    const insisting = ['--snapback-dir', at('undo'), '--require-snapback'];
    const [empty, lying] = await Promise.all([streamOf(compared, null), streamOf(compared, changed)]);
    const command = `'lvmsync' receive -- ${at('in/vm')}`;
    expect((await serveStream(empty, command, ...insisting)).status).toBe(0);
    const { status, reply } = await serveStream(lying, command, ...insisting);
    expect(status).toBe(2);
    expect(reply).toContain('this receiver requires a snapback');
    expect(readFileSync(at('in/vm'))).toBeBytes(base);
  });

  it('that requires a journal refuses a full copy, which has none', async () => {
    const command = `'lvmsync' receive -- ${at('in/vm')}`;
    const { status, reply } = await serveStream(fullStream, command, '--require-journal');
    expect(status).toBe(2);
    expect(reply).toContain('this receiver requires a journal, and a full copy keeps no journal: use');
    expect(readFileSync(at('in/vm'))).toBeBytes(base);
    expect((await serve(command, '--require-journal')).status).toBe(0);
    // what that sends has one
    writeFileSync(at('in/vm'), base);
    const scanned = await streamOf({ ...compared, expectedBytes: changed.length }, changed);
    expect((await serveStream(scanned, command, '--require-journal')).status).toBe(0);
    // and without that word
    writeFileSync(at('in/vm'), base);
    expect((await serveStream(fullStream, command)).status).toBe(0);
    expect(readFileSync(at('in/vm'))).toBeBytes(changed);
    // a snapback has the old bytes of a full copy, too
    writeFileSync(at('in/vm'), base);
    const kept = `'lvmsync' receive --snapback full -- ${at('in/vm')}`;
    const insisting = ['--snapback-dir', at('undo'), '--require-journal', '--require-snapback'];
    expect((await serveStream(fullStream, kept, ...insisting)).status).toBe(0);
  });

  it('that is read-only writes nothing', async () => {
    const { reply } = await serve(`'lvmsync' receive -- ${at('in/vm')}`, '--read-only');
    expect(reply).toContain('it only answers a verify');
    expect(readFileSync(at('in/vm'))).toBeBytes(base);
  });

  it.each([
    [null, /came without a command/],
    ['ls -la', /other commands are refused/],
    [`'lvmsync' receive -- $(id)`, /other commands are refused/],
    [`'lvmsync' --apply - ${tmpdir()}/x`, /other commands are refused/],
  ])('runs nothing for %j', async (command, message) => {
    const { status, said, reply } = await serve(command);
    expect({ status, reply }).toEqual({ status: 12, reply: '' });
    expect(said.join()).toMatch(message);
  });

  it('tells its version', async () => {
    expect(await serve(`'lvmsync' --version`)).toEqual({ status: 0, said: [], reply: '0.0.0-test\n' });
  });
});

it.each([
  [['--restrict'], /--restrict needs --allow/],
  [['--restrict', '--allow', 'dev/*'], /a pattern is an absolute path/],
  [['--restrict', '--allow', '/x', '-b', 'y'], /--snapback cannot be used with --restrict/],
  [['/dev/x', '--restrict', '--allow', '/x'], /unexpected argument: with --restrict the client names/],
  [['/dev/x', '--allow', '/x'], /--allow needs --restrict/],
  [['--restrict', '--allow', '/x', '--require-snapback'], /--require-snapback needs --snapback-dir/],
  [
    ['--restrict', '--allow', '/x', '--require-journal', '--no-journal'],
    /--require-journal cannot be used with --no-journal/,
  ],
  [['/dev/x', '--require-snapback'], /--require-snapback needs --restrict/],
  [['/dev/x', '--require-journal'], /--require-journal needs --restrict/],
  [['/dev/x', '--snapback-dir', '/x'], /--snapback-dir needs --restrict/],
  [[], /missing argument: TARGET/],
])('receive %j is refused', async (words, message) => {
  const { status, said } = await runWords(['receive', ...words], stream, 'lvmsync --version');
  expect(status).toBe(2);
  expect(said.join()).toMatch(message);
});

/** A stream of these bytes as the beginning of a volume. */
async function streamOf(header: Pick<StreamHeader, 'kind' | 'expectedBytes'>, bytes: Uint8Array | null) {
  const sink = collectingSink();
  const writer = new FrameWriter(sink);
  await writer.start({
    ...{ volumeSize: base.length, blockSize: CHUNK, base: null, result: null, names: {} },
    ...{ host: 'web1', time: '2026-01-02T03:04:05Z', writer: 'test', ...header },
  });
  if (bytes !== null) await writer.data(0, bytes);
  await writer.finish();
  return sink.bytes();
}

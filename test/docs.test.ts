import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it, test } from 'vitest';
import { ExceptionBatch, parseCowHeader, parseExceptions, StoreLayout } from '../src/changes/cow-format.js';
import { archiveCommand } from '../src/cli/commands/archive.js';
import { combineCommand } from '../src/cli/commands/combine.js';
import { doctorCommand } from '../src/cli/commands/doctor.js';
import { copyCommand } from '../src/cli/commands/copy.js';
import { inspectCommand } from '../src/cli/commands/inspect.js';
import { pullCommand } from '../src/cli/commands/pull.js';
import { receiveCommand } from '../src/cli/commands/receive.js';
import { recoverCommand } from '../src/cli/commands/recover.js';
import { restoreCommand } from '../src/cli/commands/restore.js';
import { sendCommand } from '../src/cli/commands/send.js';
import { snapbackCommand } from '../src/cli/commands/snapback.js';
import { transferCommand } from '../src/cli/commands/transfer.js';
import { verifyCommand } from '../src/cli/commands/verify.js';
import { viewCommand } from '../src/cli/commands/view.js';
import { COMMANDS, commandNamed, type CommandName } from '../src/cli/commands/words.js';
import { processContext } from '../src/cli/context.js';
import { exitCodeOf } from '../src/cli/exit-code.js';
import { FarError, InterruptedError, type ErrorCode } from '../src/errors.js';

/* The documents say what is so: whoever changes the one is told to change the other. */

const CHECKOUT = path.resolve(import.meta.dirname, '..');

interface Manifest {
  readonly version: string;
  readonly scripts: Readonly<Record<string, string>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
  readonly license?: string;
  readonly licenses?: readonly { readonly type: string }[];
}
const manifest = readManifest('package.json');
const documents = ['.', 'docs'].flatMap((folder) =>
  readdirSync(path.join(CHECKOUT, folder))
    .filter((name) => name.endsWith('.md'))
    .map((name) => path.join(folder, name)),
);

const context = processContext(new AbortController().signal, new AbortController().signal);

/** `null` is the transfer, which has no name. */
const commands = {
  inspect: inspectCommand(context, () => undefined),
  copy: copyCommand(context),
  pull: pullCommand(context),
  receive: receiveCommand(context, () => undefined),
  recover: recoverCommand(context),
  send: sendCommand(context, () => undefined),
  verify: verifyCommand(context),
  view: viewCommand(context),
  doctor: doctorCommand(context, () => undefined),
  combine: combineCommand(context),
  snapback: snapbackCommand(context),
  archive: archiveCommand(context, () => undefined),
  restore: restoreCommand(context),
} satisfies Record<CommandName, object>;
const optionsOf = (name: CommandName | null): string[] => {
  const command = name === null ? transferCommand(context) : commands[name];
  return command
    .createHelp()
    .visibleOptions(command as never)
    .map(({ flags }) =>
      flags
        .replace(/<([a-z]+)(?=(?:\.\.\.)?>)/, (_, value: string) => value.toUpperCase())
        .replace(/[<>]/g, ''),
    );
};

describe('the man page', () => {
  const page = readManPage(read('docs/lvmsync.8'));

  it('has the options of the transfer, and no others', () => {
    const groups = [...page].filter(([key]) => key.startsWith('OPTIONS/'));
    expect(groups.flatMap(([, flags]) => flags)).toEqual(optionsOf(null));
  });

  it('has the options of the transfer under the headings of its --help', () => {
    const headings = transferCommand(context).options.map(({ helpGroupHeading }) => helpGroupHeading);
    const groups = [...page.keys()].filter((key) => key.startsWith('OPTIONS/'));
    expect(groups).toEqual([...new Set(headings)].map((heading) => `OPTIONS/${heading?.slice(0, -1)}`));
  });

  test.each(COMMANDS)('has the options of %s, and no others', (name) => {
    expect(page.get(`COMMANDS/${name}`)).toEqual(optionsOf(name));
  });

  it('has no section for a command that does not exist', () => {
    const described = [...page.keys()].filter((key) => key.startsWith('COMMANDS/'));
    expect(described).toEqual(COMMANDS.map((name) => `COMMANDS/${name}`));
  });

  it('has every exit status, and no others', () => {
    // The type makes a new code's absence here an error of the compiler.
    const codes: Record<Exclude<ErrorCode, 'INTERRUPTED'>, true> = {
      ...{ USAGE: true, UNSAFE_TARGET: true, SNAPSHOT: true, TRUNCATED: true, FORMAT: true },
      ...{ BASE_MISMATCH: true, DEVICE: true, TRANSPORT: true, FAR_SIDE: true, VERIFY_DIFFERS: true },
      ...{ COMMAND: true, LOCKED: true },
    };
    const ofErrors = Object.keys(codes).map((code) => exitCodeOf(new FarError(code as ErrorCode, 'far', '')));
    const statuses = [0, exitCodeOf(new Error('a fault')), ...ofErrors].map(String);
    expect(exitCodeOf(new InterruptedError('SIGTERM'))).toBe(128 + 15);
    expect(page.get('EXIT STATUS')).toEqual([...statuses, '128+n']);
  });

  it('is the man page of this version', () => {
    expect(read('docs/lvmsync.8')).toContain(`"lvmsync ${manifest.version}"`);
  });
});

describe('dependencies.md', () => {
  const page = read('docs/dependencies.md');
  const [runTime = '', development = ''] = page.split('\n## For development\n');
  const entries = new Map(
    runTime.split('\n### ').map((entry) => [entry.slice(0, entry.indexOf('\n')), entry] as const),
  );
  entries.delete(runTime.slice(0, runTime.indexOf('\n')));
  const rows = [...development.matchAll(/^\| `([^`]+)` +\|.*\| ([^|]+?) +\|$/gm)];

  it('names what package.json names, and nothing else', () => {
    expect([...entries.keys()].sort()).toEqual(Object.keys(manifest.dependencies).sort());
    expect(rows.map(([, name = '']) => name).sort()).toEqual(Object.keys(manifest.devDependencies).sort());
  });

  test.each(Object.keys(manifest.dependencies))('has the licence of %s', (name) => {
    expect(entries.get(name)).toContain(`Licence: ${licenceOf(name)}`);
  });

  test.each(Object.keys(manifest.devDependencies))('has the licence of %s', (name) => {
    expect(rows.find(([, each]) => each === name)?.[2]).toBe(licenceOf(name));
  });
});

describe('architecture.md', () => {
  const page = read('docs/architecture.md');

  it('has a row for each room of the sources, and no other rows', () => {
    const house = /^## The house$(.*?)^## /ms.exec(page)?.[1] ?? '';
    const rows = [...house.matchAll(/^\| ([^|]*`[^|]*)\|/gm)].flatMap(([, cell = '']) =>
      [...cell.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name),
    );
    const rooms = readdirSync(path.join(CHECKOUT, 'src'), { withFileTypes: true })
      .filter((entry) => entry.isDirectory() || ['index.ts', 'errors.ts'].includes(entry.name))
      .map(({ name }) => name);
    expect(rows.toSorted()).toEqual(rooms.toSorted());
  });

  it('has each room on the floor that the linter enforces', async () => {
    const { FLOORS } = (await import(path.join(CHECKOUT, 'oxlint.config.js'))) as {
      FLOORS: readonly (readonly string[])[];
    };
    const rows = [...page.matchAll(/^\| `([a-z]+)(?:\.ts)?` +\| (\d+) +\|/gm)];
    const drawn = rows.map(([, room = '', floor]) => [room, Number(floor)]);
    // transport/ssh has walls of its own, but no row
    const held = FLOORS.flatMap((rooms, index) =>
      rooms.filter((room) => !room.includes('/')).map((room) => [room, index + 1]),
    );
    expect(drawn).toEqual(held);
  });

  it('names no file that does not exist', () => {
    const named = [...page.matchAll(/`((?:[a-z]+\/)+[a-z0-9-]+\.[jt]s)`/g)].map(([, name = '']) => name);
    const isThere = (name: string) => ['', 'src'].some((root) => existsSync(path.join(CHECKOUT, root, name)));
    expect(named.filter((name) => !isThere(name))).toEqual([]);
  });
});

describe('cow-format.md', () => {
  const page = read('docs/cow-format.md');

  it('shows a store that reads as described', () => {
    const { header, table } = readHexdump(page);
    const { chunkSectors, ...rest } = parseCowHeader(header, 'hexdump');
    const batch = new ExceptionBatch(16);
    expect(parseExceptions(table, batch)).toBe(false);
    const shown = JSON.parse(/```json\n(.*?)```/s.exec(page)?.[1] ?? '') as object;

    expect(rest).toEqual({ magic: 0x70416e53, valid: 1, version: 1 });
    expect([...batch.oldChunks.subarray(0, batch.count)]).toEqual([7, 2, 3, 0]);
    expect([...batch.newChunks.subarray(0, batch.count)]).toEqual([2, 3, 4, 5]);
    expect(new StoreLayout(chunkSectors).tableOffset(1)).toBe(0x102000);
    expect(shown).toEqual({
      chunkSize: chunkSectors * 512,
      exceptions: batch.count,
      changedBytes: batch.count * chunkSectors * 512,
      extents: [
        [0, 4096],
        [8192, 8192],
        [28672, 4096],
      ],
    });
  });
});

describe.each(documents)('%s', (document) => {
  const text = read(document);

  it('links to what exists', () => {
    const links = [...withoutCode(text).matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = '']) => link);
    const broken = links.filter((link) => !/^https?:/.test(link) && !linkResolves(document, link));
    expect(broken).toEqual([]);
  });

  it('names npm scripts that exist', () => {
    const scripts = [...text.matchAll(/\bnpm run ([a-z:]+)/g)].map(([, name = '']) => name);
    expect(scripts.filter((name) => !(name in manifest.scripts))).toEqual([]);
  });

  it('uses options that exist', () => {
    const lines = shellLines(text).filter(({ words }) => words.length > 0);
    const unknown = lines.flatMap(({ line, words }) => {
      const known = optionsOf(commandNamed(words[0])).flatMap((flags) => flags.split(/[ ,]+/));
      return words.filter((word) => /^-./.test(word) && !known.includes(word)).map((w) => `${w} in ${line}`);
    });
    expect(unknown).toEqual([]);
  });
});

describe('README.md', () => {
  it('is short, and shows a transfer at once', () => {
    const lines = read('README.md').split('\n');
    expect(lines.length).toBeLessThan(150);
    expect(lines.slice(0, 20).some((line) => line.startsWith('lvmsync '))).toBe(true);
  });
});

test('CHANGELOG.md knows this version', () => {
  expect(read('CHANGELOG.md')).toMatch(
    new RegExp(`^## .*${manifest.version.replaceAll('.', String.raw`\.`)}`, 'm'),
  );
});

test('the documents that comments in the sources name exist', () => {
  const missing = sourceFiles().flatMap((file) =>
    [...read(file).matchAll(/\bdocs\/[a-z0-9-]+\.(?:md|8)/g)]
      .filter(([name]) => !existsSync(path.join(CHECKOUT, name)))
      .map(([name]) => `${name} in ${file}`),
  );
  expect(missing).toEqual([]);
});

test('the tests that guarantees.md names exist, at least one for each promise', () => {
  const text = read('docs/guarantees.md');
  const named = [...text.matchAll(/`(test\/[^`\s]+)`/g)].map(([, name = '']) => name);
  expect(named.filter((name) => !existsSync(path.join(CHECKOUT, name)))).toEqual([]);
  const promises = text.split('\n').filter((line) => line.startsWith('| **'));
  expect(promises.length).toBeGreaterThan(20);
  expect(promises.filter((line) => !/`test\/\S+\.test\.ts`/.test(line))).toEqual([]);
});

function read(name: string): string {
  return readFileSync(path.join(CHECKOUT, name), 'utf8');
}

function readManifest(name: string): Manifest {
  return JSON.parse(read(name)) as Manifest;
}

function licenceOf(name: string): string {
  const { license, licenses } = readManifest(`node_modules/${name}/package.json`);
  return license ?? licenses?.[0]?.type ?? 'none';
}

function sourceFiles(): string[] {
  return readdirSync(path.join(CHECKOUT, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => path.join('src', name));
}

/** The tags (the line after `.TP`) of each section, or `SECTION/subsection`, as plain text. */
function readManPage(source: string): Map<string, string[]> {
  const tags = new Map<string, string[]>();
  let section = '';
  let key = '';
  const lines = source.split('\n');
  for (const [index, line] of lines.entries()) {
    const [, macro, title = ''] = /^\.(SH|SS) "?(.*?)"?$/.exec(line) ?? [];
    if (macro === 'SH') section = key = title;
    if (macro === 'SS') key = `${section}/${title}`;
    if (macro !== undefined) tags.set(key, []);
    if (line === '.TP') tags.get(key)?.push(plainRoff(lines[index + 1] ?? ''));
  }
  return tags;
}

function plainRoff(line: string): string {
  return line.replace(/\\f[BIR]/g, '').replaceAll('\\-', '-');
}

/** The first hexdump of a page, by `offset: 16 bytes`; the header chunk's bytes and the table's. */
function readHexdump(page: string): { header: Buffer; table: Uint8Array } {
  const lines = [...page.matchAll(/^([0-9a-f]{8}): ((?:[0-9a-f]{4} ){8})/gm)].map(
    ([, offset = '', bytes = '']) => ({
      offset: parseInt(offset, 16),
      bytes: Buffer.from(bytes.replaceAll(' ', ''), 'hex'),
    }),
  );
  const below = (limit: number) => Buffer.concat(lines.flatMap((l) => (l.offset < limit ? [l.bytes] : [])));
  const header = below(4096);
  const all = below(Infinity);
  return { header, table: Uint8Array.from(all.subarray(header.length)) };
}

function withoutCode(markdown: string): string {
  return markdown.replace(/^```[\s\S]*?^```/gm, '').replace(/`[^`\n]*`/g, '');
}

function linkResolves(document: string, link: string): boolean {
  const [file = '', anchor] = link.split('#');
  const target = file === '' ? document : path.join(path.dirname(document), file);
  if (!existsSync(path.join(CHECKOUT, target))) return false;
  return anchor === undefined || anchorsOf(read(target)).includes(anchor);
}

/** The anchors that a forge gives to headings. */
function anchorsOf(markdown: string): string[] {
  return [...markdown.matchAll(/^#+ (.*)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
}

/** The lvmsync commands in a document's shell blocks, and their words up to what belongs to the shell. */
function shellLines(markdown: string): { line: string; words: string[] }[] {
  return [...markdown.matchAll(/^```sh\n([\s\S]*?)^```/gm)]
    .flatMap(([, block = '']) => block.split('\n'))
    .flatMap((line) =>
      [...line.matchAll(/(?<=^|\s)lvmsync ([^#|&>;]+)/g)].map(([, words = '']) => ({
        line,
        words: words.trim().split(/\s+/),
      })),
    );
}

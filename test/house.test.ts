import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';

/* The rules of the house that the linter cannot check: see "Conventions" in CONTRIBUTING.md. */

const CHECKOUT = path.resolve(import.meta.dirname, '..');
const SOURCES = path.join(CHECKOUT, 'src');
const MOST_FILES = 15;
const MOST_LINES_OF_A_ROOM = 2000;
const LEAST_LINES = 40;

/** A room of commands: one file each, however many there are. */
const WITHOUT_LIMIT = ['cli/commands'];

/** Files that may be short: types, constants and tables, entry points. */
const MAY_BE_SHORT = [
  ...['index.ts', 'cli/main.ts', 'transport/ssh/index.ts'],
  ...['device/block-device.ts', 'transport/transport.ts'],
  ...['memory/budgets.ts', 'cli/exit-code.ts', 'cli/options/talk.ts'],
];

const files = readdirSync(SOURCES, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts') && !name.endsWith('.d.ts'))
  .map((name) => ({ name, text: readFileSync(path.join(SOURCES, name), 'utf8') }));

/** What a file imports, by import statements and by import(). */
const importsOf = new Map(
  files.map(({ name, text }) => [
    name,
    [...text.matchAll(/(?:from |import\()'(\.[^']+)\.js'/g)].map(
      ([, to = '']) => `${path.join(path.dirname(name), to)}.ts`,
    ),
  ]),
);

describe('a room of src', () => {
  const rooms = groupBy(files, ({ name }) => path.dirname(name));
  const limited = [...rooms].filter(([room]) => room !== '.' && !WITHOUT_LIMIT.includes(room));

  it(`has at most ${MOST_FILES} files`, () => {
    const tooLarge = limited.filter(([, inside]) => inside.length > MOST_FILES);
    expect(tooLarge.map(([room, inside]) => `${room}: ${inside.length}`)).toEqual([]);
  });

  it(`has at most ${MOST_LINES_OF_A_ROOM} lines`, () => {
    const lines = limited.map(
      ([room, inside]) => [room, sum(inside.map(({ text }) => linesOf(text)))] as const,
    );
    expect(lines.filter(([, count]) => count > MOST_LINES_OF_A_ROOM)).toEqual([]);
  });
});

describe('the doors of the rooms', async () => {
  const { DOORS } = (await import(path.join(CHECKOUT, 'oxlint.config.js'))) as {
    DOORS: Readonly<Record<string, string>>;
  };
  const listed = Object.entries(DOORS).flatMap(([room, doors]) =>
    doors.split(' ').map((door) => `${room}/${door}.ts`),
  );
  const used = [...importsOf].flatMap(([name, imports]) =>
    imports.filter((to) => to.includes('/') && to.split('/')[0] !== name.split('/')[0]),
  );

  // the linter checks import statements, but not import()
  it('are all in the list of oxlint.config.js', () => {
    expect([...new Set(used)].filter((name) => !listed.includes(name))).toEqual([]);
  });

  it('are all used by another room', () => {
    expect(listed.filter((name) => !used.includes(name))).toEqual([]);
  });
});

describe('a file of src', () => {
  it(`has at least ${LEAST_LINES} lines, unless it has only types, constants or an entry point`, () => {
    const short = files.filter(({ text }) => linesOf(text) < LEAST_LINES).map(({ name }) => name);
    const isFree = (name: string) =>
      MAY_BE_SHORT.includes(name) || WITHOUT_LIMIT.includes(path.dirname(name));
    expect(short.filter((name) => !isFree(name))).toEqual([]);
  });

  // the linter checks import statements, but not import()
  it('does not import itself through other files', () => {
    expect(files.map(({ name }) => name).filter((name) => allImportsOf(name).has(name))).toEqual([]);
  });
});

describe('an exported name', () => {
  it('is exported by one file of src', () => {
    const places = files.flatMap(({ name, text }) =>
      [
        ...text.matchAll(
          /^export (?:async |abstract )?(?:function\*?|class|interface|type|const|enum) (\w+)/gm,
        ),
      ].map(([, exported = '']) => ({ exported, name })),
    );
    expect(places.length).toBeGreaterThan(500);
    const twice = [...groupBy(places, ({ exported }) => exported)].filter(([, where]) => where.length > 1);
    // overloads of one function are in one file
    const elsewhere = twice.filter(([, where]) => new Set(where.map(({ name }) => name)).size > 1);
    expect(elsewhere.map(([exported, where]) => [exported, ...where.map(({ name }) => name)])).toEqual([]);
  });
});

describe('the prose of src and of the documents', () => {
  const documents = [
    'README.md',
    'CONTRIBUTING.md',
    ...readdirSync(path.join(CHECKOUT, 'docs')).map((name) => `docs/${name}`),
  ];
  const pages = documents.map((name) => ({ name, text: readFileSync(path.join(CHECKOUT, name), 'utf8') }));

  it('has no words that make a reader read twice', () => {
    const folded = /\b(of which|whoever|nobody|shall|for good|goes on with)\b/;
    const lines = [...files, ...pages].flatMap(({ name, text }) =>
      text
        .split('\n')
        .flatMap((line, index) => (folded.test(line) ? [`${name}:${index + 1}: ${line.trim()}`] : [])),
    );
    expect(lines).toEqual([]);
  });
});

/** What a file imports, itself or through other files. */
function allImportsOf(name: string): Set<string> {
  const all = new Set(importsOf.get(name));
  // A set also passes on what is added to it meanwhile.
  for (const each of all) for (const next of importsOf.get(each) ?? []) all.add(next);
  return all;
}

function linesOf(text: string): number {
  return text.split('\n').length - 1;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}

function groupBy<T>(all: readonly T[], keyOf: (each: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const each of all) groups.set(keyOf(each), [...(groups.get(keyOf(each)) ?? []), each]);
  return groups;
}

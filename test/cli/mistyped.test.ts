import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it, test } from 'vitest';
import { runWords } from '../support/run-program.js';

const run = async (line: string) => {
  const { status, said } = await runWords(line.split(' '));
  return `${said.join('\n')} => ${status}`;
};

/** Works in a folder that has one file, of this name. */
async function besideFile(name: string, work: () => Promise<void>): Promise<void> {
  const [folder, before] = [mkdtempSync(path.join(tmpdir(), 'lvmsync-mistyped-')), process.cwd()];
  writeFileSync(path.join(folder, name), 'not a stream\n'.repeat(1000));
  process.chdir(folder);
  try {
    await work();
  } finally {
    process.chdir(before);
    rmSync(folder, { recursive: true });
  }
}

describe('a mistyped option', () => {
  it.each([
    ['--snapbak', "unknown option '--snapbak' (did you mean --snapback?) => 2"],
    ['copy --creat a b', "unknown option '--creat' (did you mean --create?) => 2"],
    ['receive --restrit', "unknown option '--restrit' (did you mean --restrict?) => 2"],
    // One that must be given is not missing, but mistyped.
    ['restore x --to y --form z', "unknown option '--form' (did you mean --from?) => 2"],
    ['combine --ot x a b', "unknown option '--ot' (did you mean --out?) => 2"],
  ])('is named with the one that was meant: %s', async (line, said) => {
    expect(await run(line)).toBe(said);
  });

  test.each([
    ['--nonsense', "unknown option '--nonsense' (see lvmsync --help) => 2"],
    ['verify --nonsense', "unknown option '--nonsense' (see lvmsync verify --help) => 2"],
    ['-Q', "unknown option '-Q' (see lvmsync --help) => 2"],
  ])('that resembles no option leads to the help: %s', async (line, said) => {
    expect(await run(line)).toBe(said);
  });
});

test.each([
  ['restore x', 'missing option: --to GOAL (see lvmsync restore --help) => 2'],
  ['restore x --to y', 'missing option: --from DIR (see lvmsync restore --help) => 2'],
  ['combine x', 'missing option: --out FILE (see lvmsync combine --help) => 2'],
  ['snapback x', 'missing option: --out FILE (see lvmsync snapback --help) => 2'],
])('a required option is asked for: %s', async (line, said) => {
  expect(await run(line)).toBe(said);
});

test.each([
  ['recover,x,--state-dir,', '--state-dir: its value is empty (is a variable not set?) => 2'],
  ['restore,x,--to,S1,--from=', '--from: its value is empty (is a variable not set?) => 2'],
  ['x,y,-b,', '-b: its value is empty (is a variable not set?) => 2'],
  ['archive,prune,--keep-last,1,', 'an argument is empty (is a variable not set?) => 2'],
  [',y', 'an argument is empty (is a variable not set?) => 2'],
])('an empty argument is never a name: %s', async (line, message) => {
  const { status, said } = await runWords(line.split(','));
  expect(`${said.join('\n')} => ${status}`).toBe(message);
});

describe('a mistyped command', () => {
  it.each([
    [
      'recieve x',
      'recieve: no such device or logical volume; "recieve" is not a command (did you mean receive?) => 4',
    ],
    ['recieve x y', 'unexpected argument: y; "recieve" is not a command (did you mean receive?) => 2'],
    [
      'veiw',
      'missing argument: [HOST:]TARGET or --stdout; "veiw" is not a command (did you mean view?) => 2',
    ],
    [
      'restor x --to y --from z',
      `unknown option '--to' (see lvmsync --help); "restor" is not a command (did you mean restore?) => 2`,
    ],
  ])('is named with the one that was meant: %s', async (line, said) => {
    expect(await run(line)).toBe(said);
  });

  it.each(['snap x', 'vm x', 'base x', 'vg/restor x', '/dev/vg/restor x', './restor x', 'reciever-host x'])(
    'is not suspected in the name of a missing snapshot: %s',
    async (line) => {
      const said = await run(line);
      expect(said).toMatch(/: no such device or logical volume => 4$/);
    },
  );

  it('is not suspected in the name of a file that exists', async () => {
    await besideFile('restor', async () => {
      const said = await run('restor x');
      expect(said).toMatch(/^restor: .* => 4$/);
      expect(said).not.toContain('command');
    });
  });
});

describe('a file in place of', () => {
  it.each(['disk.img x', './disk.img x', 'snapback disk.img -o x'])(
    'a snapshot is said to be one, with the commands that take it: %s',
    async (line) => {
      await besideFile('disk.img', async () => {
        const [name = ''] = /\S*disk.img/.exec(line) ?? [];
        expect(await run(line)).toBe(
          `${name}: this is a file, and a snapshot is a block device: "lvmsync --scan ${name} TARGET" sends what ` +
            `differs between the file and TARGET, "lvmsync copy ${name} TARGET" sends all of it; if the store and the ` +
            'volume of a snapshot are files, use --cow FILE --origin FILE => 4',
        );
      });
    },
  );

  it('a host is said to be taken for one, with the way to mean the file', async () => {
    await besideFile('disk.img', async () => {
      const { said } = await runWords(['doctor', 'disk.img', '--rsh', 'false']);
      expect(said).toEqual([
        'disk.img: this is taken for a host; to examine the file of that name, write ./disk.img',
      ]);
    });
  });

  it('a stream is said to be none, with the order of the words of --apply', async () => {
    await besideFile('disk.img', async () => {
      const said = 'disk.img: first line at byte 0: this is not a stream or snapback of lvmsync';
      expect(await run('--apply disk.img x.undo')).toMatch(/x\.undo: stat failed/);
      writeFileSync('x.undo', '');
      expect(await run('--apply disk.img x.undo --state-dir state')).toBe(
        `${said}; give the file to apply first, and then the target: lvmsync --apply FILE TARGET => 6`,
      );
      expect(await run('combine -o x disk.img')).toBe(`${said} => 6`);
    });
  });
});

test.each([
  [
    'view opne a b c',
    'opne: unknown action (did you mean open?): expected open, close, list or store (see lvmsync view --help) => 2',
  ],
  [
    'archive prnue a',
    'prnue: unknown action (did you mean prune?): expected list, check or prune (see lvmsync archive --help) => 2',
  ],
  [
    'archive rewind a',
    'rewind: unknown action: expected list, check or prune (see lvmsync archive --help) => 2',
  ],
])('a mistyped action is reported with the actions that exist: %s', async (line, said) => {
  expect(await run(line)).toBe(said);
});

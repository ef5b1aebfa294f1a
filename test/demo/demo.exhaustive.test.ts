import { existsSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { fileURLToPath } from 'node:url';
import { readProps } from './props.js';
import { play } from './play.js';
import { Screen } from './screen.js';
import { setStage, type Stage } from './stage.js';

// From the sources, so that the test neither needs a build nor trusts an old one.
const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const LVMSYNC = `'${process.execPath}' --import '${import.meta.resolve('tsx')}' '${MAIN}' "$@"`;

describe('the demo', () => {
  test('plays to its end and leaves nothing behind', async () => {
    const { lines, stage } = await playWith(LVMSYNC);
    const text = lines.join('\n');
    expect(text).toContain('the target is the volume, byte for byte');
    expect(text).toContain('the target is what it was, byte for byte');
    expect(text).toMatch(/^ {5}[·░▒▓█]{64}$/m);
    expect(text).not.toContain('\u001b');
    expect(existsSync(stage.folder)).toBe(false);
  });

  test('fails on a target that is not the volume, whatever lvmsync says', async () => {
    const spoil = 'printf X | dd of=target.img bs=1 seek=1000 conv=notrunc 2>/dev/null';
    const liar = `${LVMSYNC} || exit; case "$*" in *ssh://*) ${spoil};; esac`;
    await expect(playWith(liar)).rejects.toThrow('cmp volume.img target.img');
  });
});

async function playWith(lvmsync: string): Promise<{ lines: string[]; stage: Stage }> {
  const lines: string[] = [];
  const stage = await setStage(readProps().props, lvmsync);
  try {
    await play(stage, new Screen((line) => lines.push(line), false));
  } finally {
    await stage.leave();
  }
  return { lines, stage };
}

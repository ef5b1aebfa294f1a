import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { play } from './play.js';
import { readProps } from './props.js';
import { Screen } from './screen.js';
import { DemoFailure } from './shell.js';
import { setStage, type Stage } from './stage.js';

const PROGRAM = fileURLToPath(new URL('../../bin/lvmsync.js', import.meta.url));

const keep = process.argv.includes('--keep');
const isTerminal = process.stdout.isTTY && process.env['NO_COLOR'] === undefined;
const screen = new Screen((line) => {
  console.log(line);
}, isTerminal);
process.on('SIGINT', () => process.exit(130));
process.on('SIGTERM', () => process.exit(143));
process.exitCode = await showDemo();

async function showDemo(): Promise<number> {
  const started = performance.now();
  const { props, story } = readProps();
  const stage = await setStage(props, `exec '${process.execPath}' '${PROGRAM}' "$@"`);
  try {
    for (const line of story) screen.note(line);
    screen.note(`The files lie in ${stage.folder} while this runs.`);
    await play(stage, screen);
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    screen.verdict(true, `sent, proved, and taken back in ${seconds} s`);
    if (keep) await stayOpen(stage);
    return 0;
  } catch (error) {
    if (!(error instanceof DemoFailure)) throw error;
    screen.verdict(false, error.message);
    return 1;
  } finally {
    await stage.leave();
  }
}

/** Leaves everything as it is for someone who wants to try the commands. */
async function stayOpen({ folder }: Stage): Promise<void> {
  screen.step('Try it: in another terminal, until you press Ctrl-C here');
  screen.command(`cd ${folder} && rm target.undo`);
  screen.command(
    `export HOME="$PWD/home" XDG_STATE_HOME="$PWD/state" PATH="$PWD/bin:$PATH"; unset SSH_AUTH_SOCK`,
  );
  process.removeAllListeners('SIGINT');
  await once(process, 'SIGINT');
}

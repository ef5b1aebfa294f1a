import { drawChangeMap } from '../../src/cli/reports/change-map.js';
import { formatBytes, formatShare } from '../../src/bytes/amounts.js';
import type { Screen } from './screen.js';
import { DemoFailure, run } from './shell.js';
import type { Stage } from './stage.js';

const MAP_COLUMNS = 64;
const MAP_ROWS = 8;

/** What `inspect --json --extents` says, as far as the demo uses it. Bytes. */
interface Inspection {
  readonly exceptions: number;
  readonly changedBytes: number;
  readonly volumeSize: number;
  readonly extents: readonly (readonly [offset: number, length: number])[];
}

/** The summary of a transfer. Bytes. */
interface Summary {
  readonly tableBytes: number;
  readonly changedBytes: number;
  readonly sentBytes: number;
}

/** Plays the demo on its stage. Throws DemoFailure at the first thing that does not come out as it must. */
export async function play(stage: Stage, screen: Screen): Promise<void> {
  const inspection = await showChanges(stage, screen);
  await sendChanges(stage, screen, inspection);
  await expectEqual('target.img', 'volume.img', 'the target is the volume, byte for byte', stage, screen);
  await takeBack(stage, screen);
  await expectEqual('target.img', 'base.img', 'the target is what it was, byte for byte', stage, screen);
}

async function showChanges(stage: Stage, screen: Screen): Promise<Inspection> {
  screen.step('What changed since the snapshot');
  const inspect = 'lvmsync inspect --cow store.cow --origin volume.img';
  screen.output(await run(inspect, stage, screen));
  const json = await run(`${inspect} --json --extents`, stage, screen);
  const inspection = JSON.parse(json) as Inspection;
  const { exceptions, changedBytes, volumeSize } = inspection;
  const extents = inspection.extents.map(([offset, length]) => ({ offset, length }));
  screen.note(`the whole volume, from its first byte to its last (· untouched, █ all changed):`);
  screen.map(drawChangeMap(extents, volumeSize, MAP_COLUMNS, MAP_ROWS));
  const share = formatShare(changedBytes, volumeSize);
  screen.good(`${exceptions} chunks, ${formatBytes(changedBytes)}: ${share} of ${formatBytes(volumeSize)}`);
  return inspection;
}

async function sendChanges(stage: Stage, screen: Screen, inspection: Inspection): Promise<void> {
  screen.step('Send only that, over ssh, and keep what it overwrites');
  screen.note(
    `target.img is a copy from before. An ssh server listens on 127.0.0.1:${stage.port}; behind it,`,
  );
  screen.note('`lvmsync receive` writes the target and keeps the old bytes.');
  const command = [
    'lvmsync --json --cow store.cow --origin volume.img',
    '    --snapback "$PWD/target.undo"',
    `    "ssh://demo@127.0.0.1:${stage.port}$PWD/target.img"`,
  ];
  const json = await run(command.join(' \\\n'), stage, screen);
  screen.output(json);
  const { tableBytes, changedBytes, sentBytes } = JSON.parse(json) as Summary;
  if (tableBytes !== inspection.changedBytes) {
    throw new DemoFailure(`it sent of ${tableBytes} bytes, while ${inspection.changedBytes} changed`);
  }
  if (changedBytes === 0 || changedBytes > tableBytes) {
    throw new DemoFailure(`of ${tableBytes} bytes ${changedBytes} were sent`);
  }
  const { volumeSize } = inspection;
  screen.note(
    `of the ${formatBytes(tableBytes)} in those chunks, ${formatBytes(changedBytes)} are not as they were`,
  );
  const saved = (volumeSize / sentBytes).toFixed(1);
  screen.good(
    `${formatBytes(sentBytes)} moved; a full copy moves ${formatBytes(volumeSize)}: ${saved} times as much`,
  );
}

async function takeBack(stage: Stage, screen: Screen): Promise<void> {
  screen.step('Take it all back: the snapback holds the old bytes');
  screen.output(await run('lvmsync inspect target.undo', stage, screen));
  await run('lvmsync --apply target.undo target.img', stage, screen);
}

async function expectEqual(
  left: string,
  right: string,
  meaning: string,
  stage: Stage,
  screen: Screen,
): Promise<void> {
  const sums = await run(`sha256sum ${right} ${left}`, stage, screen);
  screen.output(sums);
  screen.output(await run(`cmp ${right} ${left}`, stage, screen));
  const [first, second] = sums.split('\n').map((line) => line.split(' ')[0]);
  if (first === undefined || first !== second) throw new DemoFailure(`${left} and ${right} differ`);
  screen.good(meaning);
}

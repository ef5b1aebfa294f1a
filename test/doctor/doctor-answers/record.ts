/**
 * Records what a real LVM answers to a doctor on machines that have a fault, for the unit tests: VERSION.json in this
 * folder. Runs as root in a guest with two disks (256M, 64M), with the LVM that is to be recorded:
 *
 *   npx tsx test/doctor/doctor-answers/record.ts > test/jobs/doctor-answers/2.03.16.json
 */
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { examineGroups, readVolumes } from '../../../src/doctor/examine-groups.js';
import { ProcessSpawner, type CommandResult, type RunOptions } from '../../../src/host/spawner.js';
import { withoutSettings } from '../../support/lvm-words.js';
import { quietSurroundings } from '../../support/surroundings.js';

const CONF = '/etc/lvm/lvm.conf';

type Words = readonly [string, ...string[]];
interface Answer extends CommandResult {
  readonly words: readonly string[];
}

/** Notes what it runs, and what comes of it. */
class Recorder extends ProcessSpawner {
  readonly answers: Answer[] = [];

  override async run(argv: Words, options?: RunOptions): Promise<CommandResult> {
    const result = await super.run(argv, options);
    this.answers.push({ words: withoutSettings(argv), ...result });
    return result;
  }
}

const recorded: Record<string, readonly Answer[]> = {};
const usual = readFileSync(CONF, 'utf8');

async function record(scene: string): Promise<void> {
  const recorder = new Recorder(process.env);
  const env = quietSurroundings(recorder);
  await examineGroups(await readVolumes(env), env);
  recorded[scene] = recorder.answers;
}

function lvm(...[program, ...words]: Words): void {
  execFileSync(program, words, { stdio: ['ignore', 'ignore', 'ignore'] });
}

/** Has LVM put off a merge into a volume, as somebody has that open. */
function putOffMerge(volume: string, snapshot: string): void {
  const held = openSync(volume, 'r');
  lvm('lvconvert', '-y', '--merge', snapshot);
  closeSync(held);
}

function write(volume: string, mebibytes: number): void {
  const words = ['if=/dev/urandom', `of=${volume}`, 'bs=1M', `count=${mebibytes}`, 'oflag=direct'] as const;
  execFileSync('dd', words, { stdio: 'ignore' });
}

/** Edits a group's metadata, as nothing here can make a group that other hosts share. */
function edit(group: string, change: (text: string) => string): void {
  lvm('vgchange', '-an', group);
  lvm('vgcfgbackup', '-f', '/run/backup', group);
  writeFileSync('/run/backup', change(readFileSync('/run/backup', 'utf8')));
  lvm('vgcfgrestore', '-y', '-f', '/run/backup', group);
}

lvm('vgcreate', 'vg', '/dev/ubda');
lvm('vgcreate', 'other', '/dev/ubdb');
lvm('lvcreate', '-y', '-L', '16m', '-n', 'vm', 'vg');
lvm('lvcreate', '-y', '-L', '8m', '-n', 'data', 'other');
await record('nothing wrong');
lvm('lvcreate', '-y', '-s', '-L', '8m', '-n', 'snap', 'vg/vm');
lvm('lvcreate', '-y', '-L', '16m', '--type', 'thin-pool', '-Zn', '-n', 'pool', 'vg');
lvm('lvcreate', '-y', '-V', '16m', '-n', 'thin', '--thinpool', 'vg/pool');
lvm('lvcreate', '-y', '-s', '-n', 'before', 'vg/thin');
write('/dev/vg/vm', 7);
write('/dev/vg/thin', 14);
await record('nearly full');
write('/dev/vg/vm', 12);
await record('overflowed');
lvm('lvremove', '-y', 'vg/snap');
lvm('lvcreate', '-y', '-s', '-L', '8m', '-n', 'snap', 'vg/vm');
putOffMerge('/dev/vg/vm', 'vg/snap');
putOffMerge('/dev/vg/thin', 'vg/before');
await record('merges wait');
writeFileSync(
  CONF,
  `${usual}
log { prefix=">> " command_names=1 }
report { output_format="json" compact_output=1 }
global { units="g" }
devices { filter=[ "a|/dev/ubd.*|" ] }
activation { volume_list=[ "vg", "@here" ] auto_activation_volume_list=[ "vg" ] }
`,
);
await record('settings');
writeFileSync(CONF, `${usual}\ndevices { filter=[ "r|/dev/ubdb|" ] }\n`);
await record('hidden');
writeFileSync(CONF, usual);
lvm('vgchange', '-an', 'other');
lvm('vgexport', 'other');
await record('exported');
lvm('vgimport', 'other');
edit('other', (text) =>
  text.replace('\tmax_lv = 0', '\tlock_type = "sanlock"\n\tlock_args = "1.0.0:lvmlock"\n\tmax_lv = 0'),
);
await record('shared');

const version = /LVM version:\s*([\d.]+)/.exec(
  execFileSync('lvm', ['version'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }),
)?.[1];
console.log(JSON.stringify({ version, recorded }, null, 1));

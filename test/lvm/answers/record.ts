/**
 * Records what a real LVM answers to our questions, for the unit tests: VERSION.json in this folder. Runs as root in a
 * guest with three disks (512M, 256M, 128M), with the LVM that is to be recorded:
 *
 *   npx tsx test/lvm/answers/record.ts > test/lvm/answers/2.03.16.json
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { ProcessSpawner, type CommandResult, type RunOptions } from '../../../src/host/spawner.js';
import { listAllVolumes, lookUpVolume } from '../../../src/lvm/lvs.js';
import { withoutSettings } from '../../support/lvm-words.js';
import { HOSTILE_SETTINGS } from '../../kernel/support/hostile-settings.js';

const CONF = '/etc/lvm/lvm.conf';
const COLUMNS = ['lv_full_name', 'lv_size', 'lv_active', 'lv_tags'] as const;

type Words = readonly [string, ...string[]];
interface Answer extends CommandResult {
  readonly words: readonly string[];
}

/** Notes what it runs, and what comes of it. */
class Recorder extends ProcessSpawner {
  readonly answers: Answer[] = [];

  constructor(private readonly before: readonly string[]) {
    super(process.env);
  }

  override async run(argv: Words, options?: RunOptions): Promise<CommandResult> {
    const [first, ...rest] = [...this.before, ...argv];
    const result = await super.run([first ?? '', ...rest], options);
    this.answers.push({ words: withoutSettings(argv), ...result });
    return result;
  }
}

const recorded: Record<string, readonly Answer[]> = {};
const usual = readFileSync(CONF, 'utf8');

async function record(scene: string, fullName: string, before: readonly string[] = []): Promise<void> {
  const recorder = new Recorder(before);
  await lookUpVolume(recorder, COLUMNS, fullName).catch(() => undefined);
  recorded[scene] = recorder.answers;
}

/** Asks as nobody should: LVM then has its errors where it likes. */
async function recordPlain(scene: string, words: Words, before: readonly string[] = []): Promise<void> {
  const recorder = new Recorder(before);
  await recorder.run(words, { environment: { LVM_SUPPRESS_FD_WARNINGS: '1' } });
  recorded[scene] = recorder.answers;
}

function lvm(...[program, ...words]: Words): void {
  execFileSync(program, words, { stdio: ['ignore', 'ignore', 'ignore'] });
}

function hide(pattern: string): void {
  writeFileSync(CONF, usual.replace('devices {', `devices { global_filter=["r|${pattern}|"]`));
}

const NOBODY = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'];

lvm('vgcreate', 'vg', '/dev/ubda');
lvm('lvcreate', '-y', '-L', '16m', '-n', 'vm', '--addtag', 'a', '--addtag', 'b', 'vg');
await record('a volume', 'vg/vm');
await record('no such volume', 'vg/nix');
await record('no such group', 'nix/vm');
await record('no right', 'vg/vm', NOBODY);
await record('no right, no such group', 'nix/vm', NOBODY);
const listing = new Recorder([]);
await listAllVolumes(listing, ['lv_path', 'lv_active']);
recorded['all volumes'] = listing.answers;
const plain = ['lvs', '--reportformat', 'json', '-o', 'lv_full_name', '--'] as const;
await recordPlain('plain: no such volume', [...plain, 'vg/nix']);
await recordPlain('plain: no such group', [...plain, 'nix']);
await recordPlain('plain: no right', [...plain, 'vg'], NOBODY);
for (const { name, settings } of HOSTILE_SETTINGS) {
  writeFileSync(CONF, `${usual}\n${settings}\n`);
  await record(`${name}: a volume`, 'vg/vm');
  await record(`${name}: no such volume`, 'vg/nix');
  await record(`${name}: no such group`, 'nix/vm');
}
hide('.*');
await record('all is hidden', 'vg/vm');
writeFileSync(CONF, usual);

lvm('vgcreate', 'two', '/dev/ubdb', '/dev/ubdc');
lvm('lvcreate', '-y', '-L', '16m', '-n', 'away', 'two', '/dev/ubdc');
hide('ubdc');
await record('a disk is away: a volume', 'two/away');
await record('a disk is away: no such volume', 'two/nix');
writeFileSync(CONF, usual);
lvm('vgchange', '-an', 'two');
lvm('vgexport', 'two');
await record('an exported group', 'two/away');
lvm('vgimport', 'two');
lvm('vgchange', '-an', 'vg');
hide('ubda');
lvm('vgrename', 'two', 'vg');
writeFileSync(CONF, usual);
await record('two groups of one name', 'vg/vm');
hide('ubda');
lvm('vgchange', '-y', '--config', 'local/extra_system_ids=["other"]', '--systemid', 'other', 'vg');
await record('another system’s group', 'vg/away');

const version = /LVM version:\s*([\d.]+)/.exec(
  execFileSync('lvm', ['version'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }),
)?.[1];
console.log(JSON.stringify({ version, recorded }, null, 1));

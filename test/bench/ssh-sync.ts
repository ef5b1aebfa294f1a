import { race, sizeIn, workIn, type Bench } from './bench-run.js';
import { THIS_BUILD } from './builds.js';
import { ChangedVolume, halfChanged, spaceOf, type VolumeShape } from './changed-volume.js';
import { startDelayingProxy } from './delaying-proxy.js';
import { atLeast, atMost, under, type Bar } from './figures.js';
import { PLAIN } from './local-sync.js';
import { beside, byEachBuild, syncRival } from './lvmsync-run.js';
import { timeRun } from './measure.js';
import { startSshd, type Sshd } from './sshd.js';
import { sizeText } from './stores.js';
import { peakOf, processorTime, processorTo, speedOf, speedTo, type Plan, type Rival } from './turns.js';
import { findAny } from './workplace.js';

const ONE_WAY_MS = 25;

/** A sync over the built-in ssh against a pipe through OpenSSH's, to one and the same sshd on loopback. */
export async function benchSshSync(bench: Bench): Promise<void> {
  const shape = halfChanged(sizeIn(bench, 2 ** 30, 2 ** 27));
  await throughSshd(bench, shape, async (sshd, volume) => {
    const goal = sshd.goal(volume.target, sshd.port);
    const plain = syncRival(volume, goal, [...PLAIN, '--codec', 'none']);
    await plain(THIS_BUILD)();
    const cipher = sshd.lastCipher() ?? 'unknown';
    const size = sizeText(volume.changedBytes);
    const rivalWords = `cat FILE | ssh HOST "cat > FILE" with the same cipher, ${cipher}, and with the usual one`;
    bench.report.title(`${size} over ssh, loopback, beside ${rivalWords}`);
    const rivals: [string, Rival][] = [
      ...byEachBuild(bench.builds, { plain, default: syncRival(volume, goal) }),
      ['same', catThrough(volume, sshd.client(sshd.port, '-c', cipher))],
      ['usual', catThrough(volume, sshd.client(sshd.port))],
    ];
    await race(bench, rivals, [
      { what: 'plain: speed', ...speedOf('plain', volume.changedBytes) },
      { what: 'plain: speed to cat, same', ...speedTo('plain', 'same'), bar: atLeast(1) },
      { what: 'plain: speed to cat, usual', ...speedTo('plain', 'usual'), bar: atLeast(1.3) },
      { what: 'default: speed', ...speedOf('default', volume.changedBytes) },
      { what: 'default: speed to cat, same', ...speedTo('default', 'same'), bar: atLeast(0.8) },
      { what: 'default: speed to cat, usual', ...speedTo('default', 'usual'), bar: atLeast(1) },
      ...(['plain', 'default'] as const).flatMap((name) => besideOther(name)),
      ...memoryOf('plain', 'default'),
    ]);
  });
}

/** The bar of processor time is for what cat does, too. */
function besideOther(name: 'plain' | 'default'): Plan[] {
  const bar: Bar | undefined = name === 'plain' ? atMost(0.45) : undefined;
  return [
    { what: `${name}: speed to other build`, ...speedTo(name, beside(name)) },
    { what: `${name}: processor, both sides`, ...processorTime(name) },
    { what: `${name}: processor to other build`, ...processorTo(name, beside(name)), bar },
  ];
}

/** The same where each round trip takes 50 ms. */
export async function benchRoundTrip(bench: Bench): Promise<void> {
  const shape = halfChanged(2 ** 28);
  await throughSshd(bench, shape, async (sshd, volume) => {
    const proxy = await startDelayingProxy(sshd.port, ONE_WAY_MS);
    sshd.trust(proxy.port);
    const size = sizeText(volume.changedBytes);
    bench.report.title(
      `${size} over ssh with a round trip of ${2 * ONE_WAY_MS} ms, beside cat FILE | ssh HOST "cat > FILE"`,
    );
    const sync = syncRival(volume, sshd.goal(volume.target, proxy.port));
    const rivals: [string, Rival][] = [
      ...byEachBuild(bench.builds, { default: sync }),
      ['cat', catThrough(volume, sshd.client(proxy.port))],
    ];
    await race(bench, rivals, [
      { what: 'speed', ...speedOf('default', volume.changedBytes) },
      { what: 'speed of cat', ...speedOf('cat', volume.changedBytes) },
      { what: 'speed to cat', ...speedTo('default', 'cat'), bar: atLeast(3) },
      { what: 'speed to other build', ...speedTo('default', beside('default')) },
      ...memoryOf('default'),
    ]).finally(() => {
      proxy.stop();
    });
  });
}

export function memoryOf(...names: readonly string[]): Plan[] {
  return [
    { what: 'peak memory, near side', ...peakOf('near', ...names), bar: under(150) },
    { what: 'peak memory, far side', ...peakOf('far', ...names), bar: under(150) },
  ];
}

export async function throughSshd(
  bench: Bench,
  shape: VolumeShape,
  work: (sshd: Sshd, volume: ChangedVolume) => Promise<void>,
): Promise<void> {
  await workIn(bench, findAny(spaceOf(shape)), async ({ folder }) => {
    const sshd = await startSshd(folder, bench.builds);
    if (typeof sshd === 'string') bench.report.skip(sshd);
    else await work(sshd, new ChangedVolume(folder, shape)).finally(() => sshd.stop());
  });
}

function catThrough(volume: ChangedVolume, client: readonly string[]): Rival {
  const pipe = 'file=$1; copy=$2; shift 2; cat "$file" | "$@" "cat > $copy"';
  return () => timeRun(['sh', '-c', pipe, 'sh', volume.alone, volume.copy, ...client]);
}

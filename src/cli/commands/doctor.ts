import { statSync } from 'node:fs';
import { Command } from '@commander-js/extra-typings';
import { answerDoctor, examineBoth, type DoctorReport } from '../../doctor/doctor.js';
import { examineTarget } from '../../doctor/examine-target.js';
import type { Finding } from '../../doctor/finding.js';
import { UsageError } from '../../errors.js';
import { makeHarmless } from '../../transport/stderr-lines.js';
import { sinkFrom } from '../../transport/stream-channel.js';
import { parseTargetSpec, type RemoteHost } from '../../transport/target-spec.js';
import type { Context } from '../context.js';
import { SUCCESS, exitStatusOf } from '../exit-code.js';
import { moreHelp } from '../help.js';
import { TARGET_GROUP } from '../options/policy.js';
import { reachOf, withReach } from '../options/reach.js';
import { jsonOption } from '../options/talk.js';
import { describeVerified, shareOf, type VerifiedShare } from '../reports/summary.js';
import { print, type Output } from '../standard-output.js';

const HELP = {
  lists: {
    'Arguments:': {
      HOST: '[user@]host, or ssh://user@host:port',
      TARGET: 'a device or image file on this host; its name must contain a slash',
    },
  },
  note:
    'For a TARGET, doctor shows what is recorded about it: the state that it holds, the evidence for that, since when, and how much of it was compared. ' +
    'Doctor changes nothing on either host. The exit status is 0 if there is no problem, 9 or 10 if HOST cannot be reached or has no lvmsync, and 12 for other problems.',
  examples: ['lvmsync doctor backup --sudo', 'lvmsync doctor /dev/vg/vm'],
};

/** Examines both hosts and the connection between them, and says what to do about each problem. */
export function doctorCommand(context: Context, exitWith: (status: number) => void) {
  const command = new Command('doctor')
    .description('Check whether this host and HOST can do a transfer, or show what is known about a TARGET.')
    .usage('[options] [HOST | TARGET]')
    .argument('[HOST]');
  return withReach(command)
    .option('--answer', 'answer the doctor of another host (which starts this over ssh)')
    .optionsGroup(TARGET_GROUP)
    .option('--state-dir <dir>', 'the directory that has the record of TARGET')
    .addOption(jsonOption())
    .addHelpText('after', moreHelp(HELP))
    .action(async (host, options) => {
      const env = context.surroundings('normal');
      if (options.answer === true) {
        if (host !== undefined) throw new UsageError('--answer cannot be used with a HOST');
        const output = sinkFrom(context.stdout, 'standard output');
        const line = { input: context.input('the other host'), output };
        await answerDoctor(line, context.self(), 'everything', env);
        return;
      }
      if (host !== undefined && isTarget(host)) {
        const report = await examineTarget(host, options.stateDir ?? null, env);
        const { verified, volumeSize, ...rest } = report;
        const share = shareOf(verified, volumeSize);
        const lines =
          options.json === true
            ? [JSON.stringify({ ...rest, verified: share })]
            : [...section(host, report.findings), ...(share === null ? [] : [proved(share)])];
        await say(lines, context.stdout);
        const isBad = report.findings.some(({ verdict }) => verdict === 'problem');
        exitWith(isBad ? exitStatusOf('COMMAND') : SUCCESS);
        return;
      }
      if (options.stateDir !== undefined) throw new UsageError('--state-dir needs a TARGET');
      const destination = host === undefined ? null : parseHost(host);
      if (host !== undefined && isFileHere(host))
        context.say(`${host}: this is taken for a host; to examine the file of that name, write ./${host}`);
      const report = await examineBoth(destination, reachOf(options, context), context.self(), env);
      const lines = options.json === true ? [JSON.stringify(report)] : describe(report, host ?? '');
      await say(lines, context.stdout);
      exitWith(report.problem === null ? SUCCESS : exitStatusOf(report.problem));
    });
}

async function say(lines: Iterable<string>, output: Output): Promise<void> {
  for (const line of lines) await print(output, `${makeHarmless(line)}\n`);
}

function proved(share: VerifiedShare): string {
  return `  ${'ok'.padEnd(8)} proved: ${describeVerified(share)}`;
}

/** Anything with a slash is a target, except an ssh:// URL. Throws UsageError for a target on another host. */
function isTarget(word: string): boolean {
  if (!word.includes('/') || word.startsWith('ssh://')) return false;
  const spec = parseTargetSpec(word);
  if (spec.kind === 'local') return true;
  throw ofItsOwnHost(word, spec);
}

function isFileHere(word: string): boolean {
  return statSync(word, { throwIfNoEntry: false })?.isFile() === true;
}

function ofItsOwnHost(word: string, { path, host }: { path: string; host: string }): UsageError {
  const why = 'doctor can only examine a TARGET on the host where it runs';
  return new UsageError(`${word}: ${why}: run "lvmsync doctor ${path}" on ${host}`);
}

/** Parses a host alone, as it is written before the colon of a target. Throws UsageError. */
function parseHost(word: string): RemoteHost {
  const end = word.startsWith('ssh://') ? '/' : ':.';
  const host = word.replace(/:$|(?<!^ssh:)\/+$/, '');
  const spec = parseTargetSpec(`${host}${end}`);
  if (spec.kind === 'local') throw new UsageError(`${word}: not a host`);
  const path = spec.path.slice(0, -end.length);
  if (spec.path !== end.replace(':', '')) throw ofItsOwnHost(word, { ...spec, path });
  return spec;
}

function* describe({ here, there, between }: DoctorReport, host: string): Generator<string> {
  yield* section(`this host (${here.hostname})`, here.findings);
  if (host === '') return;
  if (there !== null) yield* section(`${host} (${there.hostname}), as ${there.user}`, there.findings);
  yield* section(`between them`, between);
}

function* section(title: string, findings: readonly Finding[]): Generator<string> {
  yield title;
  for (const { check, verdict, text, advice } of findings) {
    yield `  ${verdict.padEnd(8)} ${check}: ${text}`;
    if (advice !== null) yield `           → ${advice}`;
  }
}

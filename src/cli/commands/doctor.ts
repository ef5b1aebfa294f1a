import { Command } from '@commander-js/extra-typings';
import { UsageError } from '../../errors.js';
import { answerDoctor, examineBoth, type DoctorReport } from '../../jobs/doctor.js';
import type { Finding } from '../../jobs/finding.js';
import { sinkFrom } from '../../transport/stream-channel.js';
import { makeHarmless } from '../../transport/stderr-lines.js';
import { parseTargetSpec, type Destination } from '../../transport/target-spec.js';
import type { Context } from '../context.js';
import { SUCCESS, exitStatusOf } from '../exit-code.js';
import { print } from '../standard-output.js';
import {
  batchOption,
  reachOf,
  remotePathOption,
  remotePrefixOption,
  rshOption,
  sudoOption,
} from './reach.js';

const HELP_AFTER = `
Words:
  HOST    [user@]host, or ssh://user@host:port

Nothing is changed, neither here nor there. The exit status is 0 where there is
no problem; 9 or 10 where HOST is out of reach or without lvmsync, else 12.

Example:
  lvmsync doctor backup --sudo`;

/** Looks at both ends and the line between, and says what to do about what it finds. */
export function doctorCommand(context: Context, exitWith: (status: number) => void) {
  return new Command('doctor')
    .description('Look whether this host, and HOST, can do a transfer; say what to do where not.')
    .usage('[options] [HOST]')
    .argument('[HOST]')
    .addOption(rshOption())
    .addOption(remotePathOption())
    .addOption(sudoOption())
    .addOption(remotePrefixOption())
    .addOption(batchOption())
    .option('--json', 'print one JSON object on standard output')
    .option('--answer', 'be the far side of another host’s doctor')
    .addHelpText('after', HELP_AFTER)
    .action(async (host, options) => {
      const about = context.surroundings('normal');
      if (options.answer === true) {
        if (host !== undefined) throw new UsageError('--answer takes no HOST');
        const output = sinkFrom(context.stdout, 'standard output');
        const line = { input: context.input('the other host'), output };
        await answerDoctor(line, context.self(), 'everything', about);
        return;
      }
      const destination = host === undefined ? null : parseHost(host);
      const report = await examineBoth(destination, reachOf(options, context), context.self(), about);
      const lines = options.json === true ? [JSON.stringify(report)] : describe(report, host ?? '');
      for (const line of lines) await print(context.stdout, `${makeHarmless(line)}\n`);
      exitWith(report.problem === null ? SUCCESS : exitStatusOf(report.problem));
    });
}

/** A host alone: what stands before the colon of a target. Throws UsageError. */
function parseHost(word: string): Destination {
  const spec = parseTargetSpec(
    word.startsWith('ssh://') ? `${word.replace(/\/*$/, '')}/` : `${word.replace(/:$/, '')}:.`,
  );
  if (spec.kind === 'local') throw new UsageError(`${word}: not a host`);
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

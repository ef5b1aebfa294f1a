import { Command } from '@commander-js/extra-typings';
import { UsageError } from '../../errors.js';
import { inspect, type InspectReport, type InspectSpec } from '../../jobs/inspect.js';
import type { Context } from '../context.js';
import { exitCodeOf, SUCCESS } from '../exit-code.js';
import { SOURCE_GROUP } from '../options/source.js';
import { jsonOption, OUTPUT_GROUP } from '../options/talk.js';
import { describeExceptionStore, describeStream, storeJson, streamJson } from '../reports/inspect-report.js';
import { describeThin, thinJson } from '../reports/thin-report.js';
import { print } from '../standard-output.js';

/** The exit status for an invalid store, whatever is wrong with it. */
const INVALID_SNAPSHOT = 4;

const USAGE = `[options] SNAPSHOT
       lvmsync inspect [options] FILE
       lvmsync inspect [options] --cow FILE [--origin FILE]`;

/** Shows what changed; never writes. */
export function inspectCommand(context: Context, exitWith: (status: number) => void) {
  return new Command('inspect')
    .description(
      'Show what changed in a snapshot or exception store, or what a stream or snapback file holds.',
    )
    .usage(USAGE)
    .argument('[name]')
    .optionsGroup(SOURCE_GROUP)
    .option('--cow <file>', 'the exception store, as a file or device')
    .option('--origin <file>', 'the volume that the store belongs to (its size limits the changes)')
    .addOption(jsonOption())
    .optionsGroup(OUTPUT_GROUP)
    .option('--extents', 'with --json: also list every changed extent')
    .action(async (name, options) => {
      if (options.extents === true && options.json !== true) throw new UsageError('--extents needs --json');
      const report = await inspect(specOf(name, options), context.surroundings('normal'));
      for (const text of textsOf(report, options, context)) await print(context.stdout, text);
      exitWith(statusOf(report));
    });
}

function specOf(name: string | undefined, options: { cow?: string; origin?: string }): InspectSpec {
  if (options.cow !== undefined) {
    if (name !== undefined)
      throw new UsageError(`${name}: unexpected argument: give a SNAPSHOT or --cow FILE, not both`);
    return { kind: 'files', cow: options.cow, origin: options.origin ?? null };
  }
  if (options.origin !== undefined) throw new UsageError('--origin needs --cow');
  if (name === undefined) throw new UsageError('missing argument: SNAPSHOT, FILE or --cow FILE');
  return { kind: 'named', name };
}

function textsOf(
  report: InspectReport,
  options: { json?: true; extents?: true },
  context: Context,
): Iterable<string> {
  if (report.type === 'stream') {
    return options.json === true ? [streamJson(report)] : describeStream(report);
  }
  const columns = context.stdout.isTTY === true ? (context.stdout.columns ?? 80) : null;
  if (report.type === 'dm-thin') {
    return options.json === true ? thinJson(report, options.extents === true) : describeThin(report, columns);
  }
  if (options.json === true) return storeJson(report, options.extents === true);
  return describeExceptionStore(report, columns);
}

function statusOf(report: InspectReport): number {
  if (report.problem === null) return SUCCESS;
  return report.type === 'stream' ? exitCodeOf(report.problem) : INVALID_SNAPSHOT;
}

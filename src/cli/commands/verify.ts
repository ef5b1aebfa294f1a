import { Command } from '@commander-js/extra-typings';
import { UsageError, VerifyDiffersError } from '../../errors.js';
import { verify, type VerifySpec, type VerifySummary } from '../../jobs/verify.js';
import { parseTargetSpec } from '../../transport/target-spec.js';
import type { Context } from '../context.js';
import { moreHelp } from '../help.js';
import { reachOf, withReach } from '../options/reach.js';
import { parsePercent } from '../options/source.js';
import { jsonOption } from '../options/talk.js';
import {
  describeDifferences,
  describeVerify,
  isEmpty,
  verifyJson,
  verifyLines,
  type VerifyNames,
} from '../reports/verify-report.js';
import { print } from '../standard-output.js';

const HELP = {
  lists: {
    'Arguments:': {
      A: 'a volume or image file on this host: vg/lv, /dev/vg/lv, FILE',
      B: 'the volume or image file that should equal A',
      HOST: '[user@]host; to give a port, write HOST and B together as ssh://user@host:port/dev/…',
    },
  },
  note:
    'Each extent that differs is a line on standard output: offset and length in bytes. ' +
    'The exit status is 0 if nothing differs at the end, and 11 if something does.',
  examples: [
    'lvmsync verify vg/vm-snap backup:/dev/vg/vm',
    'lvmsync verify vg/vm-new backup:/dev/vg/vm --changed vg/vm-base --audit 1',
  ],
};

/** Compares two volumes by digests, and repairs the differences if asked to. */
export function verifyCommand(context: Context) {
  const command = new Command('verify')
    .description(
      'Compare two volumes: on one host byte by byte; on two, each side hashes its own, and only digests are sent.',
    )
    .usage('[options] A [HOST:]B')
    .argument('<A>')
    .argument('<B>')
    .optionsGroup('Comparison:')
    .option('--changed <snapshot>', 'compare only what changed in A since SNAPSHOT was made')
    .option(
      '--audit <percent>',
      'compare a random share of the volume (with --changed: in addition to the changes)',
      parsePercent,
    )
    .option('--repair', 'send what differs from A to B, and compare it again');
  return withReach(command)
    .addOption(jsonOption())
    .addHelpText('after', moreHelp(HELP))
    .action(async (a, b, options) => {
      const spec = specOf(a, b, options);
      const summary = await verify(spec, reachOf(options, context), context.surroundings('normal'));
      const names = { a, b, changed: spec.changed };
      await report(summary, names, options.json === true, context);
      if (isEmpty(summary.remaining)) return;
      const advice = spec.repair ? 'also after the repair' : 'use --repair to send what differs';
      throw new VerifyDiffersError(
        `${b} does not equal ${a}: ${describeDifferences(summary.remaining)}; ${advice}`,
      );
    });
}

function specOf(
  a: string,
  b: string,
  options: { readonly changed?: string; readonly audit?: number; readonly repair?: true },
): VerifySpec {
  if (parseTargetSpec(a).kind === 'remote') {
    throw new UsageError(`${a}: A must be on this host (for a file with a colon in its name, write ./NAME)`);
  }
  return {
    a,
    b: parseTargetSpec(b),
    changed: options.changed ?? null,
    auditPercent: options.audit ?? null,
    repair: options.repair === true,
  };
}

async function report(
  summary: VerifySummary,
  names: VerifyNames,
  asJson: boolean,
  context: Context,
): Promise<void> {
  const texts = asJson ? verifyJson(summary, names) : verifyLines(summary);
  for (const text of texts) await print(context.stdout, text);
  if (asJson) return;
  for (const line of describeVerify(summary, names)) context.say(line);
}

import { accessSync, constants, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArguments, USAGE, UsageError, type Wish } from './arguments.js';
import {
  buildOther,
  describeCheckout,
  describeCommit,
  resolveCommit,
  THIS_BUILD,
  type Build,
} from './builds.js';
import { PARTS } from './parts.js';
import { describePeers, findPeers } from './peers.js';
import { drawFigures } from './picture.js';
import { describeMachine, Report } from './report.js';
import { wrap } from './table.js';
import { cleanUpAtExit } from './workplace.js';

function say(line: string): void {
  console.log(line);
}

/** Throws before anything is measured where the command line is wrong. */
function prepare(): Wish & { readonly commit: string | null } {
  const hasQuick = new Map([...PARTS].map(([name, part]) => [name, part.hasQuick]));
  const wish = parseArguments(process.argv.slice(2), hasQuick);
  for (const file of [wish.json, wish.svg]) if (file !== null) expectFolderOf(file);
  return { ...wish, commit: wish.against === null ? null : resolveCommit(wish.against) };
}

function expectFolderOf(file: string): void {
  try {
    accessSync(path.dirname(file), constants.W_OK);
  } catch {
    throw new UsageError(`${file} cannot be written: ${path.dirname(file)} is no folder of yours`);
  }
}

async function measure({ form, parts, commit, json, svg }: ReturnType<typeof prepare>): Promise<boolean> {
  const report = new Report(say);
  const machine = describeMachine();
  const peers = findPeers(process.env);
  const checkout = describeCheckout();
  const other = commit === null ? null : describeCommit(commit);
  for (const text of [
    machine,
    `this build: ${checkout}; other build: ${other ?? 'not asked for (--against COMMIT)'}`,
  ]) {
    wrap(text).forEach(say);
  }
  wrap(`peers: ${describePeers(peers)}`).forEach(say);
  const builds: readonly Build[] = commit === null ? [THIS_BUILD] : [THIS_BUILD, buildOther(commit)];
  const started = performance.now();
  for (const name of parts) {
    report.begin(name);
    try {
      await PARTS.get(name)?.run({ report, form, builds, peers });
    } catch (error) {
      report.fail(error instanceof Error ? error.message : String(error));
    }
  }
  const minutes = Math.round((performance.now() - started) / 6000) / 10;
  say(`\n${form.name} form, ${form.pairs} pairs, ${minutes} minutes`);
  const isGood = report.finish();
  const about = { form: form.name, pairs: form.pairs, machine, checkout, against: other, peers, minutes };
  if (json !== null) writeFileSync(json, report.toJson(about));
  if (svg !== null)
    writeFileSync(
      svg,
      drawFigures(report.figures, `${checkout} against ${other ?? 'its rivals'}; ${machine}`),
    );
  return isGood;
}

cleanUpAtExit();
try {
  process.exitCode = (await measure(prepare())) ? 0 : 1;
} catch (error) {
  const isUsage = error instanceof UsageError;
  console.error(`bench: ${error instanceof Error ? error.message : String(error)}`);
  if (isUsage) console.error(`usage: ${USAGE}`);
  process.exitCode = isUsage ? 2 : 1;
}

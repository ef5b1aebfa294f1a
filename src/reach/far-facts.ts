import * as v from 'valibot';
import { within } from '../session/sender.js';
import { UNKNOWN_FACTS, type FarFacts, type FarFault, type SilentEnd } from '../transport/far-exit.js';
import type { FarCommand } from '../transport/remote-command.js';
import type { Transport } from '../transport/transport.js';

/** Starts lvmsync on the other host in a given way, with given words. */
export type StartLvmsync = (command: FarCommand, words: readonly string[]) => Promise<Transport>;

/** How long to wait when a far side that failed is asked why. */
const ASK_TIMEOUT_MS = 15_000;
/** How long to wait for its end, if it was started by then. Milliseconds. */
const CUT_MS = 3_000;
/** An answer is a line or two; a program that sends more is not lvmsync. Bytes. */
const MOST_ANSWER = 64 * 1024;

/** Asks a far side that failed for facts that help to explain why. Never throws: the failure is known already. */
export async function askFacts(
  fault: FarFault,
  { exit, command }: SilentEnd,
  start: StartLvmsync,
): Promise<FarFacts> {
  // sudo may refuse these commands too, so they run without it.
  const plain = { ...command, sudo: false };
  if (fault === 'sudo refused' || fault === 'sudo wants a terminal') {
    const said = await ask(start(plain, ['doctor', '--answer']));
    return { ...UNKNOWN_FACTS, ...readSelf(said ?? '') };
  }
  // A Ruby lvmsync, or one older than the command, reads the command as the name of a snapshot and exits with 1.
  if (fault !== 'words refused' && !(fault === 'failed' && exit.status === 1)) return UNKNOWN_FACTS;
  const said = await ask(start(plain, ['--version']));
  const [line = ''] = (said ?? '').split('\n');
  return { ...UNKNOWN_FACTS, version: /^[\w .+-]{1,60}$/.test(line) ? line : null };
}

const selfSchema = v.object({
  user: v.pipe(v.string(), v.maxLength(256)),
  program: v.pipe(v.string(), v.maxLength(4096)),
});

/** The user and the path of lvmsync on the other host, from the first line of a doctor's answer. */
function readSelf(said: string): Partial<FarFacts> {
  try {
    return v.parse(selfSchema, JSON.parse(said.split('\n')[0] ?? ''));
  } catch {
    return {};
  }
}

/** What a program prints without any input; null if it fails or takes too long. */
async function ask(starting: Promise<Transport>): Promise<string | null> {
  try {
    return await within(ASK_TIMEOUT_MS, starting.then(readAnswer));
  } catch {
    return null;
  } finally {
    const cut = starting.then(
      (transport) => transport.destroy(),
      () => undefined,
    );
    await within(CUT_MS, cut);
  }
}

async function readAnswer(transport: Transport): Promise<string | null> {
  transport.output.end().catch(() => undefined);
  let said = '';
  for await (const piece of transport.input) {
    said += Buffer.from(piece).toString();
    if (said.length > MOST_ANSWER) return null;
  }
  return (await transport.exit).status === 0 ? said : null;
}

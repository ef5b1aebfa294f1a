import * as v from 'valibot';
import type { ByteSource } from '../bytes/byte-channel.js';
import { FarSideError, LvmsyncError, TransportError, type ErrorCode } from '../errors.js';
import { orInterrupted } from '../host/interruption.js';
import type { Surroundings } from '../host/surroundings.js';
import { startFarSide, type Reach } from '../reach/far-side.js';
import type { ReceiverLine } from '../session/receiver.js';
import { SESSION_LIMITS, within, type FarSide } from '../session/sender.js';
import { farChatter } from '../transport/far-exit.js';
import type { RemoteHost } from '../transport/target-spec.js';
import { examineHost, type HostRole, type HostSelf, type Scope } from './examine-host.js';
import { findingSchema, ok, problem, warning, type Finding } from './finding.js';

/** How often the far side is asked for its time; the fastest answer counts. */
const CLOCK_ROUNDS = 4;
/** A larger difference between the clocks is a warning. Milliseconds. */
const MOST_CLOCK_DIFFERENCE = 2000;
/** An answer's line, whatever is in it. Characters. */
const MOST_LINE = 64 * 1024;
/** How much of a line is shown if it is not an answer. Characters. */
const MOST_SHOWN = 64;

/** Left-overs may be many. */
const MOST_FINDINGS = 1000;

const text = v.pipe(v.string(), v.maxLength(4096));
const hostSchema = v.object({
  hostname: text,
  version: text,
  user: text,
  program: text,
  findings: v.pipe(v.array(findingSchema), v.maxLength(MOST_FINDINGS)),
});

/** What a host reports about itself. */
export type HostReport = v.InferOutput<typeof hostSchema>;

/** What was found at both ends, and between them. */
export interface DoctorReport {
  readonly here: HostReport;
  /** Null if no other host was named, or it did not answer. */
  readonly there: HostReport | null;
  readonly between: readonly Finding[];
  /** The class of the worst problem; null if there is no problem. */
  readonly problem: ErrorCode | null;
}

/**
 * Examines this host, and optionally another one and the line to it. Changes nothing; a host that cannot be reached is
 * a finding.
 */
export async function examineBoth(
  destination: RemoteHost | null,
  reach: Reach,
  self: HostSelf,
  env: Surroundings,
): Promise<DoctorReport> {
  const here = await reportHost(destination === null ? 'any' : 'source', self, 'everything', env);
  const far =
    destination === null
      ? { report: null, between: [], problem: null }
      : await examineFar(destination, reach, env);
  const findings = [...here.findings, ...(far.report?.findings ?? [])];
  const isBad = findings.some(({ verdict }) => verdict === 'problem');
  return {
    here,
    there: far.report,
    between: far.between,
    problem: far.problem ?? (isBad ? 'COMMAND' : null),
  };
}

/** Runs the far side of a doctor: a line about this host, then the time for each line that comes. */
export async function answerDoctor(
  line: ReceiverLine,
  self: HostSelf,
  scope: Scope,
  env: Surroundings,
): Promise<void> {
  const say = (value: unknown) => line.output.write(Buffer.from(`${JSON.stringify(value)}\n`));
  await say(await reportHost('target', self, scope, env));
  for await (const question of linesOf(line.input)) {
    if (question !== '') throw new TransportError('a doctor is asked for nothing but the time');
    await say(env.now().getTime());
  }
  await line.output.end();
}

async function reportHost(
  role: HostRole,
  self: HostSelf,
  scope: Scope,
  env: Surroundings,
): Promise<HostReport> {
  const { hostname, version } = env;
  const { user, program } = self;
  return { hostname, version, user, program, findings: await examineHost(role, self, scope, env) };
}

interface FarReport {
  readonly report: HostReport | null;
  readonly between: readonly Finding[];
  readonly problem: ErrorCode | null;
}

async function examineFar(destination: RemoteHost, reach: Reach, env: Surroundings): Promise<FarReport> {
  try {
    const far = await orInterrupted(
      startFarSide(destination, reach, ['doctor', '--answer'], env),
      env.signal,
    );
    return await orInterrupted(converse(far, reach, env), env.signal).finally(() => far.transport.destroy());
  } catch (error) {
    if (!(error instanceof LvmsyncError) || error.code === 'INTERRUPTED') throw error;
    const advice = 'nothing can be sent there until this is fixed';
    return { report: null, between: [problem('connection', error.message, advice)], problem: error.code };
  }
}

async function converse(far: FarSide, reach: Reach, env: Surroundings): Promise<FarReport> {
  const { transport } = far;
  const lines = linesOf(transport.input);
  let isFirst = true;
  const next = async (): Promise<unknown> => {
    const line = await within(SESSION_LIMITS.helloMs, lines.next());
    if (line === null) throw new TransportError(`${transport.host}: no answer from the far side's lvmsync`);
    if (line.done === true) throw await far.explainEnd(await transport.exit);
    const value = parseJson(line.value);
    if (value === undefined && isFirst) throw farChatter(transport.host, line.value.slice(0, MOST_SHOWN));
    isFirst = false;
    return value;
  };
  const report = v.safeParse(hostSchema, await next());
  if (!report.success) throw notADoctor(transport.host);
  const clocks = await compareClocks(far, next, env);
  await transport.output.end();
  await within(SESSION_LIMITS.farewellMs, transport.exit);
  const cipher = transport.cipher === undefined ? '' : `, ${transport.cipher}`;
  const carrier = reach.rsh === null ? `the built-in ssh${cipher}` : reach.rsh.join(' ');
  const between = [
    ok('connection', `${transport.host} answers through ${carrier} in ${Math.round(clocks.roundTrip)} ms`),
    judgeVersions(env.version, report.output.version),
    judgeClocks(clocks),
  ];
  return { report: report.output, between, problem: null };
}

/** Milliseconds. The difference is positive if the far side's clock is ahead. */
interface Clocks {
  readonly difference: number;
  readonly roundTrip: number;
}

/** Asks for the time. The answer is half a round trip old. */
async function compareClocks(
  { transport }: FarSide,
  next: () => Promise<unknown>,
  env: Surroundings,
): Promise<Clocks> {
  let best: Clocks = { difference: 0, roundTrip: Infinity };
  for (let round = 0; round < CLOCK_ROUNDS; round++) {
    const started = env.clock();
    const before = env.now().getTime();
    await transport.output.write(Buffer.from('\n'));
    const farTime = await next();
    const roundTrip = env.clock() - started;
    if (typeof farTime !== 'number') throw notADoctor(transport.host);
    if (roundTrip < best.roundTrip) best = { difference: farTime - before - roundTrip / 2, roundTrip };
  }
  return best;
}

function judgeClocks({ difference, roundTrip }: Clocks): Finding {
  const sign = difference > 0 ? 'ahead' : 'behind';
  const seconds = (Math.abs(difference) / 1000).toFixed(1);
  const told = seconds === '0.0' ? 'both clocks agree' : `its clock is ${seconds} s ${sign}`;
  if (Math.abs(difference) - roundTrip / 2 <= MOST_CLOCK_DIFFERENCE) return ok('clocks', told);
  return warning(
    'clocks',
    told,
    'synchronize both clocks with NTP: records and logs of both hosts are compared',
  );
}

function judgeVersions(own: string, far: string): Finding {
  if (own === far) return ok('same version', `both run lvmsync ${own}`);
  return warning('same version', `lvmsync ${own} here, ${far} there`, 'install the newer one on both hosts');
}

/** Undefined if the line is not JSON. */
function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

function notADoctor(host: string): FarSideError {
  return new FarSideError(`${host}: the answer is not from an lvmsync doctor; lvmsync there may be too old`);
}

async function* linesOf(source: ByteSource): AsyncGenerator<string, void> {
  let open = '';
  for await (const piece of source) {
    const lines = (open + Buffer.from(piece).toString()).split('\n');
    open = lines.pop() ?? '';
    if (open.length > MOST_LINE) throw new TransportError('a line that does not end');
    yield* lines;
  }
}

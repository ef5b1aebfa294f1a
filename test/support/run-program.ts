import { PassThrough } from 'node:stream';
import { CopyingPipe } from './copying-pipe.js';
import type { Context } from '../../src/cli/context.js';
import { runProgram } from '../../src/cli/program.js';
import { ProcessSpawner } from '../../src/host/spawner.js';
import { defaultSshSettings } from '../../src/transport/ssh/index.js';
import { sourceFrom } from '../../src/transport/stream-channel.js';
import type { Surroundings } from '../../src/host/surroundings.js';
import { quietSurroundings } from './surroundings.js';

/** What a run of the command line left. */
export interface ProgramOutcome {
  readonly status: number;
  readonly stdout: Buffer;
  /** The lines on stderr. */
  readonly said: readonly string[];
}

/** What a command knows of its process, of one that nobody would mistake for this. */
export const plainProcess = {
  self: () => ({
    ...{
      node: '20.19.0',
      program: '/usr/bin/lvmsync',
      user: 'nobody',
      isRoot: false,
      udev: 'listens' as const,
      otherStateDirs: [],
    },
  }),
  sshOriginalCommand: null,
};

/**
 * Runs the command line's words inside this process, with a stdin, stdout and stderr of their own; `env` is what
 * they find around them instead of what is usual here.
 */
export async function runWords(
  words: readonly string[],
  input: Uint8Array = new Uint8Array(),
  sshOriginalCommand: string | null = null,
  env: Partial<Surroundings> = {},
): Promise<ProgramOutcome> {
  const [stdin, stdout] = [new PassThrough(), new CopyingPipe()];
  const pieces: Buffer[] = [];
  stdout.on('data', (piece: Buffer) => pieces.push(piece));
  stdin.end(input);
  const said: string[] = [];
  const say = (line: string) => said.push(line);
  const context: Context = {
    input: (name) => sourceFrom(stdin, name),
    ...{ stdout, say, ...plainProcess, sshOriginalCommand },
    version: '0.0.0-test',
    ssh: () => defaultSshSettings('/nonexistent', 'nobody', null),
    surroundings: () => ({ ...quietSurroundings(new ProcessSpawner(process.env)), notice: say, ...env }),
  };
  const status = await runProgram(words, context);
  return { status, stdout: Buffer.concat(pieces), said };
}

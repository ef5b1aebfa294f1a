import { spawn } from 'node:child_process';
import type { Screen } from './screen.js';
import type { Stage } from './stage.js';

/** Something that does not come out as it must: the demo fails with this as its reason. */
export class DemoFailure extends Error {}

/** Shows a command and runs exactly what it shows, with a shell, on the stage. Throws DemoFailure where it fails. */
export async function run(command: string, { folder, environment }: Stage, screen: Screen): Promise<string> {
  screen.command(command);
  const child = spawn('/bin/sh', ['-c', command], {
    cwd: folder,
    env: environment,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (piece: string) => (stdout += piece));
  child.stderr.setEncoding('utf8').on('data', (piece: string) => (stderr += piece));
  const status = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  screen.output(stderr);
  if (status !== 0) {
    screen.output(stdout);
    throw new DemoFailure(`\`${command}\` ended with exit status ${status ?? 'none'}`);
  }
  return stdout;
}

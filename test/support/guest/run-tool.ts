import { spawn } from 'node:child_process';

/** Runs a program that prepares something; what it prints is shown only where it fails. Throws Error then. */
export async function runTool(
  [command, ...words]: readonly [string, ...string[]],
  folder?: string,
): Promise<string> {
  const child = spawn(command, words, {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' },
  });
  const output: Buffer[] = [];
  const printed: Buffer[] = [];
  child.stdout.on('data', (piece: Buffer) => {
    output.push(piece);
    printed.push(piece);
  });
  child.stderr.on('data', (piece: Buffer) => printed.push(piece));
  const status = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (status === 0) return Buffer.concat(output).toString();
  const lastLines = Buffer.concat(printed).toString().trim().split('\n').slice(-3).join(' / ');
  throw new Error(`${command} ${words[0] ?? ''}: status ${status ?? 'none'}: ${lastLines}`);
}

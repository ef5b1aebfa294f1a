import { ProcessSpawner } from '../../src/host/spawner.js';

/** Starts real programs, but for `ssh -G`: that prints the given lines, whatever the host. */
export class SshConfigSpawner extends ProcessSpawner {
  constructor(private readonly lines: () => readonly string[]) {
    super(process.env);
  }

  override run(argv: readonly [string, ...string[]]) {
    if (argv[0] !== 'ssh' || argv[1] !== '-G') return super.run(argv);
    const stdout = argv.includes('none') ? '' : `${this.lines().join('\n')}\n`;
    return Promise.resolve({ stdout, stderr: '', status: 0 });
  }
}

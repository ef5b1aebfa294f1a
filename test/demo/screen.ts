import { styleText } from 'node:util';

type Style = Parameters<typeof styleText>[0];

/** What the demo tells its audience, line by line. */
export class Screen {
  private steps = 0;

  /** @param colours only where a person looks at a terminal */
  constructor(
    private readonly write: (line: string) => void,
    private readonly colours: boolean,
  ) {}

  step(what: string): void {
    this.steps += 1;
    this.write('');
    this.write(this.paint('bold', `${this.steps}. ${what}`));
  }

  note(text: string): void {
    this.write(`   ${text}`);
  }

  /** A command as it is typed, over several lines where they end in a backslash. */
  command(text: string): void {
    const [first, ...more] = text.split('\n');
    this.write(`   ${this.paint('cyan', `$ ${first ?? ''}`)}`);
    for (const line of more) this.write(`   ${this.paint('cyan', line)}`);
  }

  /** What a command printed. */
  output(text: string): void {
    for (const line of text.split('\n')) if (line !== '') this.write(`     ${this.paint('dim', line)}`);
  }

  map(rows: readonly string[]): void {
    for (const row of rows) this.write(`     ${this.paint('yellow', row)}`);
  }

  good(text: string): void {
    this.write(`   ${this.paint('green', '✔')} ${text}`);
  }

  verdict(ok: boolean, text: string): void {
    this.write('');
    this.write(this.paint(['bold', ok ? 'green' : 'red'], `${ok ? 'OK' : 'FAILED'}: ${text}`));
  }

  private paint(style: Style, text: string): string {
    return this.colours ? styleText(style, text) : text;
  }
}

import { afterEach, beforeEach, expect, it } from 'vitest';
import { CommandError } from '../../../src/errors.js';
import { hostKey, SshPlace } from '../../support/ssh-place.js';

/* The programs that stand before a host; jumps with the real ssh are in test/kernel/ssh-login.test.ts. */

/** A program that carries bytes to a port of this host, as `nc` does. */
const CARRY = `
  const socket = require("net").connect(process.argv.at(-1), "127.0.0.1");
  process.stdin.pipe(socket).pipe(process.stdout);`;

let place: SshPlace;

beforeEach(async () => {
  place = await SshPlace.open();
});
afterEach(() => place.close());

function proxyBy(command: string): void {
  place.configLines.push(`proxycommand ${command}`, `hostkeyalias box`);
}

async function carry(): Promise<string> {
  await place.writeHome('known_hosts', `box ${hostKey.public}\n`);
  return `${process.execPath} -e '${CARRY.trim().replaceAll('\n', ' ')}' -- "${place.server.port}"`;
}

it('a command carries the bytes both ways, to the last one', async () => {
  proxyBy(`${await carry()} 2>/dev/null`);
  const transport = await place.connect(['cat'], 1, 'no-such-host.invalid');
  const echoed = (async () => {
    let bytes = 0;
    for await (const piece of transport.input) bytes += piece.length;
    return bytes;
  })();
  for (let count = 0; count < 10; count++) await transport.output.write(Buffer.alloc(1 << 20));
  await transport.output.end();
  expect(await echoed).toBe(10 << 20);
  expect(await transport.exit).toEqual({ status: 0, signal: null });
});

it('a command that fails says why in its own words', async () => {
  proxyBy(`sh -c 'echo the gate is closed >&2; exit 3'`);
  await expect(place.connect(['true'])).rejects.toThrow(
    /127\.0\.0\.1: the ProxyCommand failed: it exited with status 3: the gate is closed/,
  );
});

it('a command that is cut off breaks the line', async () => {
  proxyBy(await carry());
  const transport = await place.connect(['sleep', '5'], 1, 'no-such-host.invalid');
  setTimeout(() => {
    place.server.cut();
  }, 50);
  expect(await transport.exit).toMatchObject({ status: null, problem: expect.any(String) as string });
});

it('the host’s key is checked as always', async () => {
  proxyBy(await carry());
  await place.writeHome('known_hosts', '');
  await expect(place.connect(['true'])).rejects.toThrow(/its host key .* is not in any known_hosts file/);
});

it('a jump needs OpenSSH’s client', async () => {
  place.configLines.push('proxyjump gate');
  const { spawner } = place.env;
  const start = spawner.start.bind(spawner);
  spawner.start = (argv) => start([`/nonexistent/${argv[0]}`, ...argv.slice(1)]);
  const connecting = place.connect(['true']);
  await expect(connecting).rejects.toThrow(CommandError);
  await expect(connecting).rejects.toThrow(/install openssh-client/);
});

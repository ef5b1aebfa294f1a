import { readFile, writeFile } from 'node:fs/promises';
import type { AuthContext } from 'ssh2';
import { afterEach, describe, expect, it } from 'vitest';
import { InterruptedError, TransportError } from '../../../src/errors.js';
import type { Prompter } from '../../../src/transport/ssh/index.js';
import { fingerprintOf } from '../../../src/transport/ssh/known-hosts.js';
import { FakePrompter } from '../../support/fake-prompter.js';
import { hostKey, SshPlace, strangerKey, userKey } from '../../support/ssh-place.js';
import { isAuthorized, makeKeyPair, parsePublicKey } from '../../support/ssh-server.js';

/* What is asked, when, and how often; the real terminal and the real sshd are in test/kernel/ssh-login.test.ts. */

let place: SshPlace;
afterEach(() => place.close());

function ask<P extends Prompter>(prompter: P): P {
  place.settings = { ...place.settings, prompter };
  return prompter;
}

async function getIn(): Promise<void> {
  const transport = await place.connect(['true']);
  expect(await transport.exit).toMatchObject({ status: 0 });
}

const byPassword =
  (right: string, methods: ('password' | 'publickey')[] = ['password']) =>
  (context: AuthContext): void => {
    if (context.method === 'password' && context.password === right) context.accept();
    else context.reject(methods);
  };

describe('a passphrase', () => {
  const locked = makeKeyPair('ed25519', 'sesame');

  it('is asked for up to three times, and once for all connections', async () => {
    place = await SshPlace.open({ authorizedKeys: [locked.public] });
    await place.writeHome('id_ed25519', locked.private);
    const prompter = ask(new FakePrompter('open', 'sesame'));
    await getIn();
    await getIn();
    expect(prompter.asked.map(({ echo }) => echo)).toEqual([false, false]);
    expect(prompter.asked[1]?.question).toMatch(
      /^Wrong passphrase, try again\.\nEnter passphrase for key '.*id_ed25519': $/,
    );

    place.settings.remembered.clear();
    ask(new FakePrompter('a', 'b', 'c', 'sesame'));
    await expect(getIn()).rejects.toThrow(/id_ed25519 stayed locked: the passphrase was wrong 3 times/);
  });

  it('is not asked for if the server does not want that key', async () => {
    place = await SshPlace.open();
    await place.writeHome('id_ecdsa', userKey.private);
    await place.writeHome('id_ed25519', locked.private);
    const prompter = ask(new FakePrompter());
    await getIn();
    expect(prompter.asked).toEqual([]);
  });

  it('that no one can be asked for is reported, with what to do', async () => {
    place = await SshPlace.open({ authorizedKeys: [locked.public] });
    await place.writeHome('id_ed25519', locked.private);
    await expect(getIn()).rejects.toThrow(
      /id_ed25519 needs a passphrase, and there is no one to ask: load it into an agent \(ssh-add\)/,
    );
  });
});

describe('a password', () => {
  it('is asked for as often as the configuration says, and remembered once it was right', async () => {
    place = await SshPlace.open({ authenticate: byPassword('sesame') });
    place.configLines.push('numberofpasswordprompts 2');
    const prompter = ask(new FakePrompter('a', 'sesame'));
    await getIn();
    await getIn();
    expect(prompter.asked).toEqual(
      Array.from({ length: 2 }, () => ({ question: "tester@127.0.0.1's password: ", echo: false })),
    );
    place.settings.remembered.clear();
    ask(new FakePrompter('a', 'b', 'sesame'));
    await expect(getIn()).rejects.toThrow(/only password; the answer was refused \(2 times\)/);
  });

  it('that was remembered and is wrong by now is asked for again', async () => {
    let right = 'old';
    place = await SshPlace.open({
      authenticate: (context) => {
        byPassword(right)(context);
      },
    });
    const prompter = ask(new FakePrompter('old', 'new'));
    await getIn();
    right = 'new';
    await getIn();
    expect(prompter.asked).toHaveLength(2);
  });

  it('comes after a key if the server wants both', async () => {
    const key = parsePublicKey(userKey.public);
    let seen = '';
    place = await SshPlace.open({
      authenticate: (context) => {
        if (isAuthorized(context, [key]) && context.method === 'publickey') {
          if (context.signature === undefined) context.accept();
          else context.reject(['password'], true);
          seen += 'key ';
        } else byPassword('sesame', seen === '' ? ['publickey'] : ['password'])(context);
      },
    });
    ask(new FakePrompter('sesame'));
    await getIn();
    expect(seen).toBe('key key ');
  });

  it('is not asked for if the configuration forbids it, or if no one is there', async () => {
    place = await SshPlace.open({ authenticate: byPassword('sesame') });
    await expect(getIn()).rejects.toThrow(/only password; it wants a password, but there is no one/);
    const prompter = ask(new FakePrompter('sesame'));
    place.configLines.push('batchmode yes');
    await expect(getIn()).rejects.toThrow(/no one to ask/);
    place.configLines.splice(-1, 1, 'passwordauthentication no');
    await expect(getIn()).rejects.toThrow(/permission denied for tester: it accepts no keys, only password/);
    expect(prompter.asked).toEqual([]);
  });

  it('that is not given, or that is interrupted, ends the login', async () => {
    place = await SshPlace.open({ authenticate: byPassword('sesame') });
    ask(new FakePrompter(null));
    await expect(getIn()).rejects.toThrow(/no answer was given/);
    ask(new FakePrompter(new InterruptedError('SIGINT')));
    await expect(getIn()).rejects.toThrow(InterruptedError);
  });

  it('is not asked for any more once the server has hung up', async () => {
    place = await SshPlace.open({ authenticate: byPassword('sesame') });
    let takenBack = false;
    ask({
      ask: (_question, { signal }) =>
        new Promise((resolve) => {
          signal.addEventListener('abort', () => {
            takenBack = true;
            resolve(null);
          });
          place.server.cut();
        }),
    });
    await expect(getIn()).rejects.toThrow(TransportError);
    expect(takenBack).toBe(true);
  });
});

describe('keyboard-interactive', () => {
  it('asks whatever the server asks, visibly or not, and shows its words as plain text', async () => {
    let answers: readonly string[] = [];
    place = await SshPlace.open({
      authenticate: (context) => {
        if (context.method !== 'keyboard-interactive') context.reject(['keyboard-interactive']);
        else {
          const prompts = [
            { prompt: 'Name of your \x1b[31mdog: ', echo: true },
            { prompt: 'Code: ', echo: false },
          ];
          context.prompt(prompts, 'Two steps', 'Think', (given) => {
            answers = given;
            context.accept();
          });
        }
      },
    });
    const prompter = ask(new FakePrompter('rex', '123'));
    await getIn();
    expect(answers).toEqual(['rex', '123']);
    const who = '(tester@127.0.0.1)';
    expect(prompter.asked).toEqual([
      { question: `${who} Two steps\n${who} Think\n${who} Name of your \\x1b[31mdog: `, echo: true },
      { question: `${who} Code: `, echo: false },
    ]);
  });
});

describe('an unknown host key', () => {
  const blob = Buffer.from(hostKey.public.split(' ')[1] ?? '', 'base64');

  it.each([
    ['yes', 'yes'],
    ['its fingerprint', fingerprintOf(blob)],
  ])('is accepted by %s, and added where it is looked up', async (_what, answer) => {
    place = await SshPlace.open();
    await writeFile(place.inSsh('known_hosts'), 'other ssh-rsa AAAA');
    const prompter = ask(new FakePrompter('what?', answer));
    await getIn();
    expect(prompter.asked[0]?.question).toContain(fingerprintOf(blob));
    expect(prompter.asked[1]?.question).toMatch(/^Please type/);
    const lines = (await readFile(place.inSsh('known_hosts'), 'utf8')).split('\n');
    expect(lines).toHaveLength(3);
    expect(place.notices).toEqual([expect.stringMatching(/host key ssh-ed25519 .* was added to/)]);
    await getIn();
    expect(prompter.asked).toHaveLength(2);
  });

  it.each([['no'], [null]])('is refused by %s', async (answer) => {
    place = await SshPlace.open();
    await place.writeHome('known_hosts', '');
    ask(new FakePrompter(answer));
    await expect(getIn()).rejects.toThrow(/its host key .* was not accepted/);
    expect(await readFile(place.inSsh('known_hosts'), 'utf8')).toBe('');
  });

  it.each([
    ['accept-new', null],
    ['no', null],
    ['yes', /StrictHostKeyChecking does not allow asking/],
  ])('is judged without a question by StrictHostKeyChecking %s', async (strictness, refusal) => {
    place = await SshPlace.open();
    await place.writeHome('known_hosts', '');
    place.configLines.push(
      `stricthostkeychecking ${strictness}`,
      'hostkeyalias the-box',
      'hashknownhosts no',
    );
    const prompter = ask(new FakePrompter('yes'));
    if (refusal === null) {
      await getIn();
      expect(await readFile(place.inSsh('known_hosts'), 'utf8')).toMatch(/^the-box ssh-ed25519 /);
    } else await expect(getIn()).rejects.toThrow(refusal);
    expect(prompter.asked).toEqual([]);
  });

  it('that differs from the one on file is never asked about', async () => {
    place = await SshPlace.open();
    await place.knowHost(strangerKey);
    place.configLines.push('stricthostkeychecking no');
    const prompter = ask(new FakePrompter('yes'));
    await expect(getIn()).rejects.toThrow(/identification has changed: .*known_hosts:1/);
    expect(prompter.asked).toEqual([]);
  });
});

import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { TransportError } from '../../../src/errors.js';
import { formatKnownHost, nameOnFile } from '../../../src/transport/ssh/known-hosts.js';
import type { Transport } from '../../../src/transport/transport.js';
import { startFakeAgent } from '../../support/fake-agent.js';
import { hostKey, rsaHostKey, SshPlace, strangerKey, userKey } from '../../support/ssh-place.js';
import { makeKeyPair, type KeyPair } from '../../support/ssh-server.js';

let place: SshPlace;

beforeEach(async () => {
  place = await SshPlace.open();
});
afterEach(() => place.close());

function blobOf({ public: text }: KeyPair): Buffer {
  return Buffer.from(text.split(' ')[1] ?? '', 'base64');
}

function connect(command: string[]): Promise<Transport> {
  return place.connect(command);
}

describe('a host key', () => {
  it.each([
    ['unknown', async () => place.writeHome('known_hosts', ''), /not in any known_hosts file/],
    ['changed', async () => place.knowHost(strangerKey), /identification has changed.*known_hosts:1/],
    ['revoked', async () => place.knowHost(hostKey, '@revoked '), /revoked by .*known_hosts:1/],
    ['vouched for by an authority', async () => place.knowHost(strangerKey, '@cert-authority '), /authority/],
  ])('that is %s ends the connection before anything of ours is shown', async (_what, prepare, message) => {
    await prepare();
    const connecting = connect(['true']);
    await expect(connecting).rejects.toThrow(TransportError);
    await expect(connecting).rejects.toThrow(message);
  });

  it.each([
    ['for this port', () => place.server.port],
    ['for the host alone', () => 22],
  ])('is asked for in the type that is on file %s', async (_where, port) => {
    await place.writeHome(
      'known_hosts',
      formatKnownHost(nameOnFile('127.0.0.1', port()), blobOf(rsaHostKey), false),
    );
    const transport = await connect(['true']);
    expect((await transport.exit).status).toBe(0);
  });
});

describe('a login', () => {
  it('tries the keys in turn, within one connection', async () => {
    await place.writeHome('id_ed25519', strangerKey.private);
    await place.writeHome('id_rsa', userKey.private);
    const transport = await connect(['true']);
    expect((await transport.exit).status).toBe(0);
    expect(place.server.connections()).toBe(1);
  });

  it('that fails names the keys that were tried, and the files that hold none', async () => {
    await place.writeHome('id_ed25519', strangerKey.private);
    await place.writeHome('id_ecdsa', makeKeyPair('ed25519', 'secret').private);
    await place.writeHome('id_rsa', 'rubbish');
    const connecting = connect(['true']);
    await expect(connecting).rejects.toThrow(TransportError);
    await expect(connecting).rejects.toThrow(/tester.*tried .*id_ed25519, .*id_ecdsa; .*id_rsa is not a key/);
  });

  it('without any key says so', async () => {
    await rm(place.inSsh('id_ed25519'));
    await expect(connect(['true'])).rejects.toThrow(/no key to offer/);
  });

  it('takes a key from the agent', async () => {
    await rm(place.inSsh('id_ed25519'));
    const agent = await startFakeAgent(join(place.home, 'agent'), userKey.private);
    place.settings = { ...place.settings, agentSocket: agent.socketPath };
    const transport = await connect(['true']);
    expect((await transport.exit).status).toBe(0);
    await agent.close();
  });

  it('continues with the key files if the agent is gone or holds other keys', async () => {
    place.settings = { ...place.settings, agentSocket: join(place.home, 'nobody') };
    expect((await (await connect(['true'])).exit).status).toBe(0);

    const agent = await startFakeAgent(join(place.home, 'agent'), strangerKey.private);
    place.settings = { ...place.settings, agentSocket: agent.socketPath };
    expect((await (await connect(['true'])).exit).status).toBe(0);
    await agent.close();

    await rm(place.inSsh('id_ed25519'));
    await expect(connect(['true'])).rejects.toThrow(/no key to offer; the agent at .*agent failed/);
  });
});

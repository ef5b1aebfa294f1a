import { once } from 'node:events';
import { createServer } from 'node:net';
import ssh2, { AgentProtocol, type ParsedKey } from 'ssh2';

/** A running agent, reached as SSH_AUTH_SOCK would name it. */
export interface FakeAgent {
  readonly socketPath: string;
  close(): Promise<void>;
}

/** An ssh agent on a socket of its own that holds one private key. */
export async function startFakeAgent(socketPath: string, privateKey: string): Promise<FakeAgent> {
  const key = ssh2.utils.parseKey(privateKey);
  if (key instanceof Error) throw key;

  const server = createServer((socket) => {
    const protocol = new AgentProtocol(false);
    protocol.on('identities', (request) => {
      protocol.getIdentitiesReply(request, [key]);
    });
    protocol.on('sign', (request, wanted: ParsedKey, data: Buffer) => {
      if (wanted.getPublicSSH().equals(key.getPublicSSH())) protocol.signReply(request, key.sign(data));
      else protocol.failureReply(request);
    });
    socket.pipe(protocol).pipe(socket);
    socket.on('error', () => undefined);
  });
  server.listen(socketPath);
  await once(server, 'listening');
  return {
    socketPath,
    close: async () => {
      server.close();
      await once(server, 'close');
    },
  };
}

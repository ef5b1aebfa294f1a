import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { scan } from '../../src/jobs/scan.js';
import type { Reach } from '../../src/reach/far-side.js';
import { DEFAULT_POLICY } from '../../src/targets/apply-policy.js';
import { PLAIN_FAR_COMMAND } from '../../src/transport/remote-command.js';
import { defaultSshSettings } from '../../src/transport/ssh/index.js';
import { quietSurroundings } from '../support/surroundings.js';

/* What happens at a target before it is compared with its source, which may take hours. */

const SIZE = 64 * 4096;
const NO_HOST: Reach = {
  ...{ rsh: null, ssh: defaultSshSettings('/nonexistent', 'nobody', null) },
  ...{ command: PLAIN_FAR_COMMAND, retries: 0 },
};
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-ready-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

it('refuses the name of a snapback that is taken before it compares anything', async () => {
  const [source, target, snapback] = ['source', 'target', 'taken.undo'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  writeFileSync(source, Buffer.alloc(SIZE, 'contents '));
  writeFileSync(target, Buffer.alloc(SIZE, 'others '));
  writeFileSync(snapback, 'of someone else');
  const policy = { ...DEFAULT_POLICY, stateDir: join(folder, 'state'), snapback };
  const env = quietSurroundings();
  let compared = 0;
  const progress = { ...env.progress, advance: (bytes: number) => void (compared += bytes) };
  const destination = { kind: 'target', spec: { kind: 'local', path: target }, policy } as const;
  const sending = { destination, reach: NO_HOST, how: { proofs: true } };
  const scanned = scan(source, sending, { ...env, progress });
  await expect(scanned).rejects.toMatchObject({
    code: 'USAGE',
    message: expect.stringMatching(/taken\.undo: it already exists/) as string,
  });
  expect(compared).toBe(0);
  expect(readFileSync(target, 'latin1').slice(0, 7)).toBe('others ');
});

import { FarSideError } from '../errors.js';
import { makeHarmless } from './stderr-lines.js';

/**
 * The error where something else than lvmsync's first word came from another host: nothing of it is taken for the
 * protocol.
 *
 * @param line what came, up to the end of its first line; not to be trusted with a terminal
 */
export function farChatter(host: string, line: string): FarSideError {
  const shown = makeHarmless(line.trim());
  return new FarSideError(
    `${host}: "${shown}" came instead of lvmsync's first word: most likely a start-up file of the shell there, such as ` +
      '.bashrc, prints it. Move that below the test for an interactive shell ([[ $- == *i* ]] || return), or send it to ' +
      `standard error (>&2): "ssh ${host} true" must print nothing`,
  );
}

import { explainFarExit, type SilentEnd } from '../../src/transport/far-exit.js';
import { PLAIN_FAR_COMMAND } from '../../src/transport/remote-command.js';
import type { FarExit } from '../../src/transport/transport.js';

/** A far side that ended without its report. */
export function silentEnd(exit: FarExit, more: Partial<SilentEnd> = {}): SilentEnd {
  return {
    ...{ host: 'far', carrier: 'rsh', exit, heard: [], isShown: false },
    ...{ command: PLAIN_FAR_COMMAND, version: '4.1.0' },
    ...more,
  };
}

/** Explains the end of a scripted far side, which has said these lines on stderr. */
export function explainEndAfter(...heard: readonly string[]): (exit: FarExit) => Promise<Error> {
  return (exit) => Promise.resolve(explainFarExit(silentEnd(exit, { heard })));
}

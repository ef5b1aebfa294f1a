import { chmodSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const CHECKOUT = path.resolve(import.meta.dirname, '../../..');
const PLACE = '/run/bin/lvmsync';

/** Lets a far side find this checkout's lvmsync, as it does from the start. */
export function installLvmsync(): void {
  removeLvmsync();
  symlinkSync(path.join(CHECKOUT, 'bin/lvmsync.js'), PLACE);
}

/** Lets a far side find no lvmsync at all. */
export function removeLvmsync(): void {
  rmSync(PLACE, { force: true });
}

/** Lets a far side find a bash script by the name of lvmsync; `$LVMSYNC` in it is the real one. */
export function installScript(script: string): void {
  removeLvmsync();
  writeFileSync(PLACE, `#!/bin/bash\nLVMSYNC='${path.join(CHECKOUT, 'bin/lvmsync.js')}'\n${script}\n`);
  chmodSync(PLACE, 0o755);
}

/** Lets a far side find the stand-in for the Ruby tool. */
export function installRubyStandIn(): void {
  removeLvmsync();
  symlinkSync(path.join(CHECKOUT, 'test/support/ruby-stand-in.js'), PLACE);
}

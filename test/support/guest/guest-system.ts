import { findKernel, type GuestKernel, type KernelName } from './guest-kernel.js';
import { findRoot, type GuestRoot, type RootName } from './guest-root.js';

/** What a guest boots: `KERNEL/ROOT`. */
export type SystemName = `${KernelName}/${RootName}`;

export const SYSTEM_NAMES: readonly SystemName[] = ['newer/own', 'own/own', 'newer/debian13', 'own/debian13'];

export interface GuestSystem {
  readonly name: SystemName;
  readonly kernel: GuestKernel;
  readonly root: GuestRoot;
}

/** The system as far as this machine has it already; null where it has not. Throws Error where there is no such name. */
export function findSystem(name: string): GuestSystem | null {
  const known = SYSTEM_NAMES.find((each) => each === name);
  if (known === undefined) throw new Error(`${name}: no such system; there are ${SYSTEM_NAMES.join(', ')}`);
  const [kernelName, rootName] = known.split('/') as [KernelName, RootName];
  const kernel = findKernel(kernelName);
  const root = findRoot(rootName);
  return kernel === null || root === null ? null : { name: known, kernel, root };
}

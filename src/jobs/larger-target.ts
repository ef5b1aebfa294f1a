import type { Surroundings } from '../host/surroundings.js';
import { formatDestination, type TargetSpec } from '../transport/target-spec.js';

/** Says where a target has more bytes than the volume that it is to equal. A size is null where it is not known. */
export function tellLarger(
  target: string,
  targetSize: number | null,
  volumeSize: number | null,
  { notice }: Pick<Surroundings, 'notice'>,
): void {
  if (targetSize === null || volumeSize === null || targetSize <= volumeSize) return;
  const sizes = `${targetSize} bytes to ${volumeSize}`;
  notice(`${target} is larger than the volume: ${sizes}; what lies behind stays as it is`);
}

/** A target in the words of whoever sends to it. */
export function nameOfTarget(spec: TargetSpec): string {
  return spec.kind === 'local' ? spec.path : `${formatDestination(spec)}:${spec.path}`;
}

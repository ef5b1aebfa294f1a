/**
 * Of a volume that LVM made and did not activate: why, as far as that can be known, and what to do.
 *
 * @param entries what volume_list must name, such as `vg/lv` or `@tag`
 */
export function describeNotActivated(entries: readonly string[]): string {
  const added = entries.map((entry) => `"${entry}"`).join(' and ');
  return (
    'LVM made it but did not activate it, most likely because volume_list in the activation section of lvm.conf ' +
    `leaves it out: add ${added} to that list`
  );
}

/** A logical volume by its two names. */
export interface VolumeName {
  readonly group: string;
  readonly name: string;
}

/** What LVM lets a name begin with, and consist of; neither of a folder's own two. */
const NAME = /^(?!\.{1,2}$)[A-Za-z0-9_+.][A-Za-z0-9_+.-]*$/;

/**
 * Which volume `vg/lv`, `/dev/vg/lv` or `/dev/mapper/vg-lv` means; null where LVM can have none of that name. By this
 * LVM is never asked for a name that it might take for something else, such as a group's.
 */
export function parseVolumeName(text: string): VolumeName | null {
  const mapped = /^\/dev\/mapper\/([^/]+)$/.exec(text)?.[1];
  const [group, name, ...rest] =
    mapped !== undefined ? splitMapperName(mapped) : text.replace(/^\/dev\//, '').split('/');
  if (group === undefined || name === undefined || rest.length > 0) return null;
  return NAME.test(group) && NAME.test(name) ? { group, name } : null;
}

/** Device-mapper joins group, volume and, of LVM's inner devices, a layer by dashes, and doubles those within them. */
function splitMapperName(name: string): string[] {
  return name
    .replaceAll('--', '/')
    .split('-')
    .map((part) => part.replaceAll('/', '-'));
}

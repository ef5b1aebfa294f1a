/** A question or a change of LVM's without the settings that go along with each. */
export function withoutSettings(argv: readonly string[]): string[] {
  const at = argv.indexOf('--config');
  return argv.filter((_word, index) => at < 0 || (index !== at && index !== at + 1));
}

/** Which volume an `lvs` asks for, as `vg/lv`; the last word of anything else. */
export function askedFor(argv: readonly string[]): string {
  const last = argv.at(-1) ?? '';
  const [, name] = /^lv_name="(.*)"$/.exec(argv[argv.indexOf('--select') + 1] ?? '') ?? [];
  return name === undefined ? last : `${last}/${name}`;
}

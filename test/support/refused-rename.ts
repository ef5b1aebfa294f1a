/** The name that a file cannot be given. */
export const refusedName = { path: '' };

type FileSystem = typeof import('node:fs/promises');

/** For `vi.mock('node:fs/promises', …)`: the real one, but for that name. */
export async function refuseRename(importOriginal: () => Promise<FileSystem>): Promise<FileSystem> {
  const real = await importOriginal();
  const rename: FileSystem['rename'] = async (from, to) => {
    if (to === refusedName.path) throw Object.assign(new Error('EIO: i/o error, rename'), { code: 'EIO' });
    await real.rename(from, to);
  };
  return { ...real, rename };
}

import { createHash } from 'node:crypto';
import { mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DeviceError, UnsafeTargetError } from '../../src/errors.js';
import { targetKeyOf } from '../../src/targets/target-key.js';

let place = '';
beforeEach(async () => {
  place = await realpath(await mkdtemp(path.join(tmpdir(), 'lvmsync-key-')));
});
afterEach(() => rm(place, { recursive: true }));

describe('the key of a target', () => {
  it('is an image file’s real path, whatever link names it', async () => {
    const image = path.join(place, 'image');
    await writeFile(image, '');
    await symlink('image', path.join(place, 'link'));
    const key = `file-${createHash('sha256').update(image).digest('hex').slice(0, 16)}`;
    expect(await targetKeyOf(image)).toEqual({ key, realPath: image, number: null });
    expect(await targetKeyOf(path.join(place, 'link'))).toEqual({ key, realPath: image, number: null });
  });

  it('does not exist for what is not a target', async () => {
    await expect(targetKeyOf(place)).rejects.toThrow(UnsafeTargetError);
    await expect(targetKeyOf('/dev/null')).rejects.toThrow(/neither a block device nor a regular file/);
    await expect(targetKeyOf(path.join(place, 'nothing'))).rejects.toThrow(DeviceError);
  });
});

/** Remembers passed self-tests in the user's cache folder. */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { SelfTestStore } from './selftest.ts';

/** Keys kept; the oldest go first. */
const MAX_KEYS = 64;

/** A store in `$XDG_CACHE_HOME/step3-webgpu/selftest.json` (or `~/.cache`). A folder that cannot be written only means that tests run again. */
export function cacheFolderStore(): SelfTestStore {
  const folder = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'step3-webgpu');
  const file = join(folder, 'selftest.json');
  const keys = async (): Promise<string[]> => {
    try {
      const list: unknown = JSON.parse(await readFile(file, 'utf8'));
      return Array.isArray(list) ? list.filter((key) => typeof key === 'string') : [];
    } catch {
      return [];
    }
  };
  return {
    has: async (key) => (await keys()).includes(key),
    async add(key) {
      try {
        await mkdir(folder, { recursive: true });
        const part = `${file}.${process.pid}`;
        await writeFile(part, JSON.stringify([...(await keys()), key].slice(-MAX_KEYS)));
        await rename(part, file);
      } catch {
        // See above: forgetting is harmless.
      }
    },
  };
}

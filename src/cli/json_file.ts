/** Configurations in files that a command is given. */
import { readFileSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { ConfigError } from '../errors.ts';

/** Configurations and hardware are small; beyond this a file is something else, such as weights. */
const MOST_BYTES = 16 * 2 ** 20;

/**
 * A `config.json`, or the one in a folder, and what to call the model: the folder, or a file of another name.
 *
 * @throws ConfigError when there is no such file, or no JSON in it
 */
export function readConfigFile(path: string): { file: string; name: string; json: unknown } {
  const folder = statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
  const file = folder ? join(path, 'config.json') : path;
  const name = basename(file) === 'config.json' ? basename(dirname(resolve(file))) : basename(file);
  return { file, name, json: readJson(file, 'config') };
}

/**
 * Parses a JSON file; `what` it is stands in errors.
 *
 * @throws ConfigError when there is no such file, it is too long, or no JSON
 */
export function readJson(file: string, what: string): unknown {
  let text: string;
  try {
    const stat = statSync(file);
    // A device may have no end.
    if (!stat.isFile())
      throw new ConfigError(what, 'a file', stat.isDirectory() ? 'a folder' : 'a device', file);
    if (stat.size > MOST_BYTES) throw new ConfigError(what, `at most ${MOST_BYTES} bytes`, stat.size, file);
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw new ConfigError(what, 'a readable file', error instanceof Error ? error.message : error, file);
  }
  try {
    return JSON.parse(text);
  } catch {
    throw new ConfigError(what, 'JSON', text, file);
  }
}

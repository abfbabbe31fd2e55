/** Models and hardware that `step3 cost` is asked about: known ones by name, others from files. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { HARDWARE, hardware } from '../cost/cards.ts';
import type { Hardware } from '../cost/hardware.ts';
import type { CostModel } from '../cost/models.ts';
import { COST_MODELS, costModel } from '../cost/presets.ts';
import { readHardware } from '../cost/read_hardware.ts';
import { readCostModel } from '../cost/read_model.ts';
import { ConfigError, InputError } from '../errors.ts';

/** Configurations and hardware are small; beyond this a file is something else, such as weights. */
const MOST_BYTES = 16 * 2 ** 20;

/**
 * A preset, or any `config.json` of a known family: the file or the folder that holds it.
 *
 * @throws InputError listing the presets when there is neither; ConfigError when the file is not such a configuration
 */
export function readModel(model: string): CostModel {
  if (Object.hasOwn(COST_MODELS, model)) return costModel(model);
  if (!existsSync(model)) {
    throw new InputError('model', `a file, or one of ${Object.keys(COST_MODELS).join(', ')}`, model);
  }
  const file = statSync(model).isDirectory() ? join(model, 'config.json') : model;
  const name = basename(file) === 'config.json' ? basename(dirname(resolve(file))) : basename(file);
  return readCostModel(readJson(file, 'config'), name, file);
}

/**
 * Hardware separated by commas: known names, and files with definitions.
 *
 * @throws InputError listing the known names; ConfigError when a file is not as it should be, or a name comes twice
 */
export function readCards(list: string): readonly Hardware[] {
  const cards = list.split(',').flatMap((item) => {
    const name = item.trim();
    if (Object.hasOwn(HARDWARE, name.toLowerCase()) || !isFile(name)) return [hardware(name)];
    return readHardware(readJson(name, 'hardware'), name);
  });
  const twice = cards.find((card, i) => cards.findIndex(({ name }) => name === card.name) < i);
  if (twice !== undefined) throw new InputError('hardware', 'each name once', twice.name);
  return cards;
}

/** Whether an item of the list means a file, there or not. */
function isFile(name: string): boolean {
  return /[/\\]|\.json$/i.test(name) || existsSync(name);
}

function readJson(file: string, what: string): unknown {
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

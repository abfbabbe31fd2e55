/** Models and hardware that `step3 cost` is asked about: known ones by name, others from files. */
import { existsSync } from 'node:fs';
import { HARDWARE, hardware } from '../cost/cards.ts';
import type { Hardware } from '../cost/hardware.ts';
import type { CostModel } from '../cost/models.ts';
import { COST_MODELS, costModel } from '../cost/presets.ts';
import { readHardware } from '../cost/read_hardware.ts';
import { readCostModel } from '../cost/read_model.ts';
import { InputError } from '../errors.ts';
import { readConfigFile, readJson } from './json_file.ts';

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
  const { file, name, json } = readConfigFile(model);
  return readCostModel(json, name, file);
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

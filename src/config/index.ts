/** Configurations: what a checkpoint's `config.json` says, checked. */

import type { ModelConfig } from './facts.ts';
import { Fields } from './fields.ts';
import { parseStep3, STEP3_TYPES, step3HasVision, step3ToJson } from './step3.ts';
import { parseStep35, STEP35_CLASS, STEP35_TYPE, step35ToJson } from './step35.ts';

export {
  type AttentionFacts,
  classOf,
  type FfnFacts,
  hasCentredNorms,
  type LayerClass,
  layerClasses,
  layerFacts,
  type ModelConfig,
  mtpBlocks,
  type Rope,
  type RoutingFacts,
} from './facts.ts';
export { PRESETS, preset } from './presets.ts';
export {
  type Int4Quantization,
  parseQuantization,
  type Quantization,
} from './quantization.ts';
export type { Step3Config } from './step3.ts';
export type { Step35Config } from './step35.ts';

/**
 * Reads a parsed `config.json` of any supported architecture.
 *
 * @param json what JSON.parse returned
 * @param file name for error messages
 * @throws ConfigError naming the field, what was expected and what was found
 */
export function parseConfig(json: unknown, file?: string): ModelConfig {
  return isStep35(new Fields(json, file)) ? parseStep35(json, file) : parseStep3(json, file);
}

/** A flat `config.json`: `parseConfig(configToJson(config))` equals `config`. */
export function configToJson(config: ModelConfig): Record<string, unknown> {
  return config.architecture === 'step3' ? step3ToJson(config) : step35ToJson(config);
}

/** Whether a parsed `config.json` describes a vision-language model, whose checkpoint also holds vision tensors. */
export function hasVisionTower(json: unknown): boolean {
  return !isStep35(new Fields(json, undefined)) && step3HasVision(json);
}

/** The type decides; a list of classes does where there is none. */
function isStep35(fields: Fields): boolean {
  const type: unknown = fields.get('model_type');
  if (fields.has('model_type')) {
    const known: readonly unknown[] = [...STEP3_TYPES, STEP35_TYPE];
    return known.includes(type)
      ? type === STEP35_TYPE
      : fields.fail('model_type', `one of ${known.join(', ')}`);
  }
  const names = fields.get('architectures');
  return Array.isArray(names) && names.includes(STEP35_CLASS);
}

/** Configurations: what a checkpoint's `config.json` says, checked. */
export { PRESETS, preset } from './presets.ts';
export {
  type Fp8Quantization,
  type Int4Quantization,
  parseQuantization,
  type Quantization,
} from './quantization.ts';
export {
  configToJson,
  hasVisionTower,
  parseConfig,
  type Step3Config,
  type Step3Config as ModelConfig,
} from './step3.ts';

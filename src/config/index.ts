/** Configurations: what a checkpoint's `config.json` says, checked. */
export { PRESETS, preset } from './presets.ts';
export { configToJson, hasVisionTower, parseConfig, type Step3Config } from './step3.ts';

/** step3-webgpu: Step-3's decode system on WebGPU, in Node and in browsers. */
export {
  configToJson,
  type ModelConfig,
  PRESETS,
  parseConfig,
  preset,
  type Step3Config,
  type Step35Config,
} from './config/index.ts';
export {
  type AfdSizing,
  type AfdTarget,
  type Deployment,
  deploymentTpot,
  type Precision,
  type StageTimes,
  sizeAfd,
  stageTimes,
} from './cost/afd.ts';
export type { Convention } from './cost/attention.ts';
export { HARDWARE, hardware } from './cost/cards.ts';
export type { Hardware } from './cost/hardware.ts';
export type { CostModel } from './cost/models.ts';
export { COST_MODELS, costModel } from './cost/presets.ts';
export { bestPairing, type Pairing, pairing, type UnitCosts, unitCosts } from './cost/price.ts';
export { readHardware } from './cost/read_hardware.ts';
export { readCostModel } from './cost/read_model.ts';
export { type CostOptions, type CostReport, costReport } from './cost/report.ts';
export { denseBatch, minimumSparsity, modelSparsity, moeBatch } from './cost/sparsity.ts';
export { type Parameters, parameters, type TokenCost, tokenCost } from './cost/token.ts';
export {
  ConfigError,
  DeviceError,
  DeviceLostError,
  InputError,
  KernelError,
  Step3Error,
  WeightError,
} from './errors.ts';
export { KERNELS } from './kernels/index.ts';
export { BASELINE, type Capabilities } from './kernels/kernel.ts';
export { type CacheShape, cacheShape } from './model/cache.ts';
export type { KernelCall, Plan, Role, Slot } from './model/plan.ts';
export { type PlanOptions, planDecode, planPrefill } from './model/plans.ts';
export { type Chat, type ChatOptions, type ChatResult, chat, chatPrompt } from './runtime/chat/chat.ts';
export {
  type ChatMessage,
  parseMessages,
  parseTools,
  type Tool,
  type ToolCall,
} from './runtime/chat/messages.ts';
export { type ChatEvent, ChatStream } from './runtime/chat/stream.ts';
export { type AdapterCard, type DeviceOptions, listAdapters, openDevice } from './runtime/device.ts';
export type {
  FinishReason,
  Generated,
  GeneratedToken,
  GenerateOptions,
  GenerateSummary,
} from './runtime/generate.ts';
export { type LoadOptions, loadModel, type ModelSource } from './runtime/load_model.ts';
export type { LogitsOptions } from './runtime/logits.ts';
export type { Model } from './runtime/model.ts';
export { type PerplexityOptions, type PerplexityResult, perplexity } from './runtime/perplexity.ts';
export type { SamplingOptions } from './runtime/sampling.ts';
export type { SelfTestStore } from './runtime/selftest.ts';
export type { TextCodec } from './runtime/text.ts';
export { VERSION } from './version.ts';
export { type Checkpoint, openCheckpoint } from './weights/checkpoint.ts';
export { checkpointFormats, weightLayout } from './weights/layout.ts';
export { type FileSource, memorySource } from './weights/source.ts';
export { urlSource } from './weights/source_url.ts';
export { syntheticCheckpoint } from './weights/synthetic.ts';

/** step3-webgpu: Step-3's decode system on WebGPU, in Node and in browsers. */
export { configToJson, PRESETS, parseConfig, preset, type Step3Config } from './config/index.ts';
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
export type { KernelCall, Plan, Role, Slot } from './model/plan.ts';
export { type CacheShape, type PlanOptions, planDecode, planPrefill } from './model/step3.ts';
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

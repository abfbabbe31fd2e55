/** The tensors of a checkpoint, by the names and shapes of the released models (Hugging Face layout). */
import {
  type AttentionFacts,
  type FfnFacts,
  hasCentredNorms,
  layerFacts,
  type ModelConfig,
  mtpBlocks,
} from '../config/index.ts';

/** A tensor that a checkpoint must hold. Matrices are stored `[out, in]`, stacks of experts `[expert, out, in]`. */
export interface TensorSpec {
  readonly name: string;
  readonly shape: readonly number[];
  /** `centred norm`: stored less 1. */
  readonly kind: 'matrix' | 'norm' | 'centred norm' | 'embedding' | 'bias';
}

/** Prefixes of the vision tower's tensors, which a `step3_vl` checkpoint holds beside the language model's. */
const VISION_PREFIXES = ['vision_model.', 'vit_downsampler', 'vit_large_projector'];

/** Whether a tensor belongs to the vision tower of a `step3_vl` checkpoint. */
export function isVisionTensor(name: string): boolean {
  return VISION_PREFIXES.some((prefix) => name.startsWith(prefix));
}

/** Tensors that some checkpoints of Step-3.5-Flash hold beside the router's bias, and that no engine reads. */
export function isIgnoredTensor(name: string): boolean {
  return /\.moe\.expert_bias$/.test(name);
}

/** Every tensor of the language model, in the order of a forward pass; multi-token-prediction blocks come last. */
export function expectedTensors(config: ModelConfig): TensorSpec[] {
  const { hidden_size: D, vocab_size: V, num_hidden_layers: L } = config;
  const norm = normOf(config);
  return [
    { name: 'model.embed_tokens.weight', shape: [V, D], kind: 'embedding' },
    ...Array.from({ length: L }, (_, layer) => layerTensors(config, layer)).flat(),
    norm('model.norm', D),
    matrix('lm_head', V, D),
    ...Array.from({ length: mtpBlocks(config) }, (_, block) => mtpTensors(config, L + block)).flat(),
  ];
}

/** A block that predicts one token further: a decoder layer between a projection and a head of its own. */
function mtpTensors(config: ModelConfig, layer: number): TensorSpec[] {
  const { hidden_size: D, vocab_size: V } = config;
  const norm = normOf(config);
  const at = `model.layers.${layer}`;
  return [
    norm(`${at}.enorm`, D),
    norm(`${at}.hnorm`, D),
    matrix(`${at}.eh_proj`, D, 2 * D),
    ...layerTensors(config, layer),
    norm(`${at}.transformer.shared_head.norm`, D),
    matrix(`${at}.transformer.shared_head.output`, V, D),
  ];
}

function layerTensors(config: ModelConfig, layer: number): TensorSpec[] {
  const { hidden_size: D } = config;
  const { attention, ffn } = layerFacts(config, layer);
  const norm = normOf(config);
  const at = `model.layers.${layer}`;
  return [
    norm(`${at}.input_layernorm`, D),
    ...attentionTensors(attention, D, `${at}.self_attn`, norm),
    norm(`${at}.post_attention_layernorm`, D),
    ...ffnTensors(ffn, D, at),
  ];
}

function attentionTensors(facts: AttentionFacts, D: number, at: string, norm: Norm): TensorSpec[] {
  const { heads, kvHeads, headDim, latent } = facts;
  const query =
    latent === undefined
      ? [matrix(`${at}.q_proj`, heads * headDim, D)]
      : [
          matrix(`${at}.q_proj`, latent, D),
          norm(`${at}.inter_norm`, latent),
          matrix(`${at}.wq`, heads * headDim, latent),
        ];
  return [
    ...query,
    matrix(`${at}.k_proj`, kvHeads * headDim, D),
    matrix(`${at}.v_proj`, kvHeads * headDim, D),
    ...(facts.headNorm ? [norm(`${at}.q_norm`, headDim), norm(`${at}.k_norm`, headDim)] : []),
    ...(facts.gate ? [matrix(`${at}.g_proj`, heads, D)] : []),
    matrix(`${at}.o_proj`, D, heads * headDim),
  ];
}

/** The shared expert is a sibling of `moe`, not inside it. */
function ffnTensors(ffn: FfnFacts, D: number, at: string): TensorSpec[] {
  if (ffn.kind === 'dense') return mlpTensors(`${at}.mlp`, D, ffn.width);
  const { experts: E, scoring } = ffn.routing;
  return [
    matrix(`${at}.moe.gate`, E, D),
    ...(scoring === 'sigmoid' ? [{ name: `${at}.moe.router_bias`, shape: [E], kind: 'bias' } as const] : []),
    matrix(`${at}.moe.gate_proj`, E, ffn.width, D),
    matrix(`${at}.moe.up_proj`, E, ffn.width, D),
    matrix(`${at}.moe.down_proj`, E, D, ffn.width),
    ...mlpTensors(`${at}.share_expert`, D, ffn.shareWidth),
  ];
}

function mlpTensors(at: string, D: number, width: number): TensorSpec[] {
  return [
    matrix(`${at}.gate_proj`, width, D),
    matrix(`${at}.up_proj`, width, D),
    matrix(`${at}.down_proj`, D, width),
  ];
}

function matrix(module: string, ...shape: number[]): TensorSpec {
  return { name: `${module}.weight`, shape, kind: 'matrix' };
}

type Norm = (module: string, width: number) => TensorSpec;

function normOf(config: ModelConfig): Norm {
  const kind = hasCentredNorms(config) ? 'centred norm' : 'norm';
  return (module, width) => ({ name: `${module}.weight`, shape: [width], kind });
}

/** The tensors of a Step-3 checkpoint, by the names and shapes of the released model (Hugging Face layout). */
import type { Step3Config } from '../config/index.ts';

/** A tensor that a checkpoint must hold. Matrices are stored `[out, in]`, stacks of experts `[expert, out, in]`. */
export interface TensorSpec {
  readonly name: string;
  readonly shape: readonly number[];
  readonly kind: 'matrix' | 'norm' | 'embedding';
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

/** Every tensor of the language model, in the order of a forward pass. */
export function expectedTensors(config: Step3Config): TensorSpec[] {
  const { hidden_size: D, vocab_size: V } = config;
  return [
    { name: 'model.embed_tokens.weight', shape: [V, D], kind: 'embedding' },
    ...Array.from({ length: config.num_hidden_layers }, (_, layer) => layerTensors(config, layer)).flat(),
    norm('model.norm', D),
    matrix('lm_head', V, D),
  ];
}

function layerTensors(config: Step3Config, layer: number): TensorSpec[] {
  const { hidden_size: D, intermediate_size: I, share_q_dim: Q, head_dim: d } = config;
  const heads = config.num_attention_heads * d;
  const at = `model.layers.${layer}`;
  return [
    norm(`${at}.input_layernorm`, D),
    matrix(`${at}.self_attn.q_proj`, Q, D),
    norm(`${at}.self_attn.inter_norm`, Q),
    matrix(`${at}.self_attn.wq`, heads, Q),
    matrix(`${at}.self_attn.k_proj`, d, D),
    matrix(`${at}.self_attn.v_proj`, d, D),
    matrix(`${at}.self_attn.o_proj`, D, heads),
    norm(`${at}.post_attention_layernorm`, D),
    ...(config.moe_layers.includes(layer) ? moeTensors(config, at) : mlpTensors(`${at}.mlp`, D, I)),
  ];
}

/** The shared expert is a sibling of `moe`, not inside it. */
function moeTensors(config: Step3Config, at: string): TensorSpec[] {
  const { hidden_size: D, moe_num_experts: E, moe_intermediate_size: F, share_expert_dim: S } = config;
  return [
    matrix(`${at}.moe.gate`, E, D),
    matrix(`${at}.moe.gate_proj`, E, F, D),
    matrix(`${at}.moe.up_proj`, E, F, D),
    matrix(`${at}.moe.down_proj`, E, D, F),
    ...mlpTensors(`${at}.share_expert`, D, S),
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

function norm(module: string, width: number): TensorSpec {
  return { name: `${module}.weight`, shape: [width], kind: 'norm' };
}

/** Tensor names of GGUF files and of the Hugging Face layout, side by side. */

/** Architectures by the name that GGUF files give them (`general.architecture`). `step3` is our own. */
export type GgufArch = 'step35' | 'step3';

const GLOBAL: readonly (readonly [string, string])[] = [
  ['token_embd.weight', 'model.embed_tokens.weight'],
  ['output_norm.weight', 'model.norm.weight'],
  ['output.weight', 'lm_head.weight'],
];

const COMMON: readonly (readonly [string, string])[] = [
  ['attn_norm.weight', 'input_layernorm.weight'],
  ['attn_k.weight', 'self_attn.k_proj.weight'],
  ['attn_v.weight', 'self_attn.v_proj.weight'],
  ['attn_output.weight', 'self_attn.o_proj.weight'],
  ['ffn_norm.weight', 'post_attention_layernorm.weight'],
  ['ffn_gate.weight', 'mlp.gate_proj.weight'],
  ['ffn_up.weight', 'mlp.up_proj.weight'],
  ['ffn_down.weight', 'mlp.down_proj.weight'],
  ['ffn_gate_inp.weight', 'moe.gate.weight'],
  ['ffn_gate_exps.weight', 'moe.gate_proj.weight'],
  ['ffn_up_exps.weight', 'moe.up_proj.weight'],
  ['ffn_down_exps.weight', 'moe.down_proj.weight'],
  ['ffn_gate_shexp.weight', 'share_expert.gate_proj.weight'],
  ['ffn_up_shexp.weight', 'share_expert.up_proj.weight'],
  ['ffn_down_shexp.weight', 'share_expert.down_proj.weight'],
];

/** Tensors of a block, without their `blk.N.` and `model.layers.N.`. */
const BLOCK: Readonly<Record<GgufArch, readonly (readonly [string, string])[]>> = {
  step35: [
    ...COMMON,
    ['attn_q.weight', 'self_attn.q_proj.weight'],
    ['attn_q_norm.weight', 'self_attn.q_norm.weight'],
    ['attn_k_norm.weight', 'self_attn.k_norm.weight'],
    ['attn_gate.weight', 'self_attn.g_proj.weight'],
    ['exp_probs_b.bias', 'moe.router_bias'],
    ['nextn.eh_proj.weight', 'eh_proj.weight'],
    ['nextn.enorm.weight', 'enorm.weight'],
    ['nextn.hnorm.weight', 'hnorm.weight'],
    ['nextn.shared_head_norm.weight', 'transformer.shared_head.norm.weight'],
    ['nextn.shared_head_head.weight', 'transformer.shared_head.output.weight'],
  ],
  // As llama.cpp names the low-rank query of other models.
  step3: [
    ...COMMON,
    ['attn_q_a.weight', 'self_attn.q_proj.weight'],
    ['attn_q_a_norm.weight', 'self_attn.inter_norm.weight'],
    ['attn_q_b.weight', 'self_attn.wq.weight'],
  ],
};

/** Divisors of the rotary frequencies of full-attention layers; not a weight. */
export const ROPE_FREQS = 'rope_freqs.weight';

const TABLES: Readonly<Record<GgufArch, ReadonlyMap<string, string>>> = {
  step35: inverse('step35'),
  step3: inverse('step3'),
};

function inverse(arch: GgufArch): Map<string, string> {
  return new Map(BLOCK[arch].map(([gguf, hf]) => [hf, gguf]));
}

/** The GGUF name of a tensor, or undefined when the architecture has none. */
export function ggufName(arch: GgufArch, name: string): string | undefined {
  const global = GLOBAL.find(([, hf]) => hf === name);
  if (global !== undefined) return global[0];
  const match = /^model\.layers\.(\d+)\.(.+)$/.exec(name);
  const block = match === null ? undefined : TABLES[arch].get(match[2]);
  return match === null || block === undefined ? undefined : `blk.${match[1]}.${block}`;
}

/**
 * The `config.json` of a model from GGUF metadata, so that one parser checks both. Sources: the `step35` loader and
 * converter of llama.cpp. Norms in `step35` files are plain, hence `zero_centered` false.
 */

import type { Metadata } from './gguf_metadata.ts';
import type { GgufArch } from './gguf_names.ts';
import { type RopeScaling, scalingOf } from './rope_divisors.ts';

/** What the tensors say about a model, where the metadata does not. */
export interface TensorFacts {
  /** Rows of `token_embd.weight`. */
  readonly vocab: number;
  /** Whether there is an `output.weight`; without one, engines use the embedding. */
  readonly head: boolean;
  /** Values of `rope_freqs.weight`, if the file has it. */
  readonly divisors: readonly number[] | undefined;
}

/** Numbers of `expert_gating_func`. */
const SIGMOID = 2;

const FULL = 'full_attention';
const SLIDING = 'sliding_attention';

/** The architecture; ConfigError for any other. */
export function readArch(metadata: Metadata): GgufArch {
  const arch = metadata.string('general.architecture');
  if (arch === 'step35' || arch === 'step3') return arch;
  return metadata.fail('general.architecture', 'one of step35, step3');
}

/**
 * A `config.json` object of the architecture.
 *
 * @throws ConfigError for a key that is missing, unknown, of the wrong type, or of a value that is not supported.
 */
export function ggufConfig(arch: GgufArch, metadata: Metadata, facts: TensorFacts): Record<string, unknown> {
  const config = arch === 'step35' ? step35(metadata, facts) : step3(metadata, facts);
  metadata.refuseUnread(`${arch}.`);
  return config;
}

function step35(m: Metadata, facts: TensorFacts): Record<string, unknown> {
  const key = (name: string) => `step35.${name}`;
  const blocks = readBlocks(m, key('block_count'));
  const nextn = m.integer(key('nextn_predict_layers'), 0);
  const layers = blocks - nextn;
  if (layers < 1) m.fail(key('nextn_predict_layers'), `fewer than block_count (${blocks})`);
  const sliding = m.booleans(key('attention.sliding_window_pattern'), blocks);
  const heads = m.numbers(key('attention.head_count'), blocks);
  const groups = m.numbers(key('attention.head_count_kv'), blocks);
  const head_dim = readHeadDim(m, key);
  // Engines rotate all of a sliding head and half of a full one, whatever this says.
  m.mustBe(key('rope.dimension_count'), head_dim);
  const of = (type: boolean) => {
    const at = sliding.flatMap((s, i) => (s === type ? [i] : []));
    const first = at[0] ?? 0;
    for (const [name, list] of [
      ['attention.head_count', heads] as const,
      ['attention.head_count_kv', groups] as const,
    ]) {
      const other = at.find((i) => list[i] !== list[first]);
      if (other !== undefined)
        m.fail(key(name), `${list[first]} in layer ${other}, as in layer ${first}`, list[other]);
    }
    return { num_attention_heads: heads[first], num_attention_groups: groups[first], head_dim };
  };
  const theta = m.number(key('rope.freq_base'));
  const slidingTheta = m.number(key('rope.freq_base_swa'), theta);
  return {
    architectures: ['Step3p5ForCausalLM'],
    model_type: 'step3p5',
    ...common(m, key, facts, layers),
    num_nextn_predict_layers: nextn,
    ...of(false),
    attention_other_setting: { attention_type: SLIDING, ...of(true) },
    layer_types: sliding.map((s) => (s ? SLIDING : FULL)),
    sliding_window: m.integer(key('attention.sliding_window')),
    rope_theta: sliding.map((s) => (s ? slidingTheta : theta)),
    partial_rotary_factors: sliding.map((s) => (s ? 1 : 0.5)),
    rope_scaling: readScaling(m, facts, theta, head_dim),
    yarn_only_types: [FULL],
    use_qk_norm: true,
    use_head_wise_attn_gate: true,
    ...readExperts(m, key, layers),
    moe_router_scaling_factor: m.number(key('expert_weights_scale'), 1),
    moe_router_activation: 'sigmoid',
    use_moe_router_bias: true,
    need_fp32_gate: true,
    swiglu_limits: readLimits(m, key('swiglu_clamp_exp'), blocks),
    swiglu_limits_shared: readLimits(m, key('swiglu_clamp_shexp'), blocks),
    max_position_embeddings: m.integer(key('context_length')),
    zero_centered: false,
  };
}

/** Our own architecture name, with llama.cpp's keys; `moe_layers` is new, since the last layer is dense again. */
function step3(m: Metadata, facts: TensorFacts): Record<string, unknown> {
  const key = (name: string) => `step3.${name}`;
  const layers = readBlocks(m, key('block_count'));
  m.mustBe(key('attention.head_count_kv'), 1);
  const moe = m.has(key('expert_count'));
  return {
    architectures: ['Step3TextForCausalLM'],
    model_type: 'step3_text',
    ...common(m, key, facts, layers),
    num_attention_heads: m.integer(key('attention.head_count')),
    num_attention_groups: 1,
    head_dim: readHeadDim(m, key),
    share_q_dim: m.integer(key('attention.q_lora_rank')),
    ...(moe ? readExpertSizes(m, key) : {}),
    norm_expert_weight: m.boolean(key('expert_weights_norm'), false),
    moe_layers_enum: moe ? m.integers(key('moe_layers')).join(',') : '',
    rope_theta: m.number(key('rope.freq_base')),
    rope_scaling:
      facts.divisors === undefined ? null : m.fail('rope_freqs.weight', 'no such tensor in step3', 'one'),
  };
}

type Key = (name: string) => string;

function common(m: Metadata, key: Key, facts: TensorFacts, layers: number): Record<string, unknown> {
  m.mustBe(key('vocab_size'), facts.vocab);
  const context = m.integer(key('context_length'));
  return {
    vocab_size: facts.vocab,
    hidden_size: m.integer(key('embedding_length')),
    intermediate_size: m.integer(key('feed_forward_length')),
    num_hidden_layers: layers,
    rms_norm_eps: m.number(key('attention.layer_norm_rms_epsilon')),
    max_seq_len: context,
    tie_word_embeddings: !facts.head,
    ...readTokens(m),
  };
}

/** Bounded here already, because lists of this length are made. */
function readBlocks(m: Metadata, key: string): number {
  const blocks = m.integer(key);
  return blocks >= 1 && blocks <= 1024 ? blocks : m.fail(key, 'an integer from 1 to 1024');
}

function readHeadDim(m: Metadata, key: Key): number {
  const dim = m.integer(key('attention.key_length'));
  // Absent, engines would take the width of the embedding over the heads.
  if (m.integer(key('attention.value_length')) !== dim)
    m.fail(key('attention.value_length'), `key_length (${dim})`);
  return dim;
}

function readExpertSizes(m: Metadata, key: Key): Record<string, unknown> {
  return {
    moe_num_experts: m.integer(key('expert_count')),
    moe_top_k: m.integer(key('expert_used_count')),
    moe_intermediate_size: m.integer(key('expert_feed_forward_length')),
    share_expert_dim: m.integer(key('expert_shared_feed_forward_length')),
  };
}

function readExperts(m: Metadata, key: Key, layers: number): Record<string, unknown> {
  m.mustBe(key('expert_gating_func'), SIGMOID);
  m.mustBe(key('moe_every_n_layers'), 1);
  const dense = m.integer(key('leading_dense_block_count'), 0);
  const norm = m.boolean(key('expert_weights_norm'), false);
  if (m.integer(key('expert_count'), 0) === 0) return { moe_layers_enum: '' };
  const moe = Array.from({ length: Math.max(0, layers - dense) }, (_, i) => dense + i);
  return { ...readExpertSizes(m, key), norm_expert_weight: norm, moe_layers_enum: moe.join(',') };
}

function readLimits(m: Metadata, key: string, blocks: number): readonly number[] {
  return m.has(key) ? m.numbers(key, blocks) : Array<number>(blocks).fill(0);
}

function readScaling(
  m: Metadata,
  { divisors }: TensorFacts,
  theta: number,
  headDim: number,
): RopeScaling | null {
  if (divisors === undefined) return null;
  const key = 'rope_freqs.weight';
  const used = divisors.slice(0, headDim / 4);
  if (divisors.length !== headDim / 2 || divisors.slice(used.length).some((divisor) => divisor !== 1)) {
    m.fail(key, `${headDim / 2} values, those from ${used.length} on 1`, divisors);
  }
  if (used.every((divisor) => divisor === 1)) return null;
  return scalingOf(used, theta) ?? m.fail(key, 'the divisors of llama3 rope scaling', divisors);
}

/** First and last tokens; a chat model ends a turn with another token than a text. */
function readTokens(m: Metadata): Record<string, unknown> {
  const id = (name: string) => {
    const key = `tokenizer.ggml.${name}_token_id`;
    return m.has(key) ? [m.integer(key)] : [];
  };
  const ends = [...new Set([...id('eos'), ...id('eot'), ...id('eom')])];
  const [bos] = id('bos');
  return {
    ...(bos === undefined ? {} : { bos_token_id: bos }),
    ...(ends.length === 0 ? {} : { eos_token_id: ends.length === 1 ? ends[0] : ends }),
  };
}

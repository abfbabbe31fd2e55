/** The feed-forward part of each layer, from the fields that model families use for it. */
import type { Fields } from '../config/fields.ts';
import type { Ffn } from './models.ts';
import { count, countOrZero, layerNumbers, listed } from './read_fields.ts';

/** The feed-forward part of a layer by its number. */
export type FfnOf = (layer: number) => Ffn;

interface Shared {
  readonly count: number;
  readonly width: number;
}

const NONE: Shared = { count: 0, width: 0 };

/** A dense block of `intermediate_size` in every layer. */
export function denseFfn(text: Fields): FfnOf {
  const ffn = dense(text);
  return () => ffn;
}

/** Mixtral, MiniMax, gpt-oss: experts of `intermediate_size` in every layer; a shared one in some of MiniMax's. */
export function localExperts(text: Fields): FfnOf {
  const width = countOrZero(text, 'shared_intermediate_size');
  const top = text.has('experts_per_token') ? 'experts_per_token' : 'num_experts_per_tok';
  const ffn = moe(
    text,
    'num_local_experts',
    top,
    'intermediate_size',
    width > 0 ? { count: 1, width } : NONE,
  );
  return () => ffn;
}

/** Qwen: experts in every `decoder_sparse_step`-th layer that is not in `mlp_only_layers`. */
export function qwenExperts(text: Fields, layers: number): FfnOf {
  const width = countOrZero(text, 'shared_expert_intermediate_size');
  const experts = moe(
    text,
    'num_experts',
    'num_experts_per_tok',
    'moe_intermediate_size',
    width > 0 ? { count: 1, width } : NONE,
  );
  const step = text.integer('decoder_sparse_step', 1, layers + 1, 1);
  const only = listed(text, 'mlp_only_layers') ? layerNumbers(text, 'mlp_only_layers', layers) : new Set();
  return (layer) => (!only.has(layer) && (layer + 1) % step === 0 ? experts : dense(text));
}

/** Pangu Pro: experts everywhere; its shared block counts as as many experts as it is wide. */
export function panguExperts(text: Fields): FfnOf {
  const width = countOrZero(text, 'shared_expert_intermediate_size');
  const each = count(text, 'moe_intermediate_size');
  const shared = width % each === 0 ? { count: width / each, width: each } : { count: 1, width };
  const ffn = moe(text, 'num_experts', 'num_experts_per_tok', 'moe_intermediate_size', shared);
  return () => ffn;
}

/** DeepSeek, Kimi, GLM: the first layers dense, then every `moe_layer_freq`-th with experts and `n_shared_experts`. */
export function deepseekExperts(text: Fields, layers: number): FfnOf {
  if (!text.has('n_routed_experts')) return denseFfn(text);
  const shared = countOrZero(text, 'n_shared_experts');
  const experts = moe(
    text,
    'n_routed_experts',
    'num_experts_per_tok',
    'moe_intermediate_size',
    shared > 0 ? { count: shared, width: count(text, 'moe_intermediate_size') } : NONE,
  );
  const first = text.integer('first_k_dense_replace', 0, layers, 0);
  const step = text.integer('moe_layer_freq', 1, layers + 1, 1);
  return (layer) => (layer >= first && layer % step === 0 ? experts : dense(text));
}

/** ERNIE: experts from `moe_layer_start_index` to `moe_layer_end_index` (-1: the last), each `moe_layer_interval`. */
export function ernieExperts(text: Fields, layers: number): FfnOf {
  // No default: Baidu's class and that of transformers have different ones.
  const shared = text.integer('moe_num_shared_experts', 0, 1024);
  const experts = moe(
    text,
    'moe_num_experts',
    'moe_k',
    'moe_intermediate_size',
    shared > 0 ? { count: shared, width: count(text, 'moe_intermediate_size') } : NONE,
  );
  const first = text.integer('moe_layer_start_index', 0, layers - 1, 0);
  const end = text.integer('moe_layer_end_index', -1, layers - 1, -1);
  const last = end === -1 ? layers - 1 : end;
  const step = text.integer('moe_layer_interval', 1, layers + 1, 1);
  return (layer) => ((layer + 1) % step === 0 && layer >= first && layer <= last ? experts : dense(text));
}

/** Llama 4: `moe_layers`, or every `interleave_moe_layer_step`-th layer; a shared expert beside; others are dense. */
export function llama4Experts(text: Fields, layers: number): FfnOf {
  const width = count(text, 'intermediate_size');
  const experts = moe(text, 'num_local_experts', 'num_experts_per_tok', 'intermediate_size', {
    count: 1,
    width,
  });
  const step = text.integer('interleave_moe_layer_step', 1, layers + 1, 1);
  const named = listed(text, 'moe_layers') ? layerNumbers(text, 'moe_layers', layers) : undefined;
  const sparse = (layer: number) => (named === undefined ? (layer + 1) % step === 0 : named.has(layer));
  return (layer) => (sparse(layer) ? experts : dense(text, 'intermediate_size_mlp'));
}

/** Step-3 and Step-3.5: experts and a shared one in the layers of `moe_layers_enum`. */
export function stepExperts(text: Fields, layers: number): FfnOf {
  if (!text.has('moe_layers_enum')) {
    if (countOrZero(text, 'moe_num_experts') > 0) text.fail('moe_layers_enum', 'the layers with experts');
    return denseFfn(text);
  }
  const sparse = layerNumbers(text, 'moe_layers_enum', layers);
  return (layer) =>
    sparse.has(layer)
      ? moe(text, 'moe_num_experts', 'moe_top_k', 'moe_intermediate_size', {
          count: 1,
          width: count(text, 'share_expert_dim'),
        })
      : dense(text);
}

function dense(text: Fields, name = 'intermediate_size'): Ffn {
  return { kind: 'dense', intermediate_size: count(text, name) };
}

function moe(text: Fields, experts: string, top: string, width: string, shared: Shared): Ffn {
  const all = count(text, experts);
  const top_k = count(text, top);
  if (top_k > all) text.fail(top, `at most ${experts} (${all})`);
  return {
    kind: 'moe',
    experts: all,
    top_k,
    intermediate_size: count(text, width),
    shared_experts: shared.count,
    shared_intermediate_size: shared.width,
  };
}

/** Bytes, FLOPs and parameters of attention, per layer and decoded token. */
import type { Attention } from './models.ts';

/**
 * How attention is counted where the paper and first principles differ.
 *
 * `paper`: MLA counts 576 elements (latent and rotary key) for both products of a head, Tables 2 and 3; lightning
 * layers count 10 FLOPs per state element. `exact`: absorbed MLA multiplies probabilities with the 512 latent elements
 * only, 5.6 % fewer FLOPs; a lightning layer needs 5: decay, outer product, addition, and a multiply-add with the query.
 * The paper does not state the 10; it is read off the MiniMax M1 row of Table 2, and Table 3 agrees. It is what the five
 * operations per element that kernels do (vLLM's `_linear_attn_decode_kernel`) come to if each counts as a multiply-add.
 */
export type Convention = 'paper' | 'exact';

const LIGHTNING_FLOPS: Readonly<Record<Convention, number>> = { paper: 10, exact: 5 };

/** Bytes of keys and values, or of state, that one decoded token moves through one layer (§4.2, Tables 2 and 3). */
export function kvBytes(attention: Attention, context: number): number {
  switch (attention.kind) {
    case 'mfa':
      return 2 * attention.head_dim * attention.kv_bytes * context;
    case 'mla':
      return (attention.kv_lora_rank + attention.qk_rope_head_dim) * attention.kv_bytes * context;
    case 'gqa':
      return (
        2 * attention.num_key_value_heads * attention.head_dim * attention.kv_bytes * seen(attention, context)
      );
    case 'lightning':
      // Read and written back.
      return 2 * stateElements(attention) * attention.kv_bytes;
  }
}

/** Bytes that a request's keys and values, or state, take up in one layer. */
export function storedBytes(attention: Attention, context: number): number {
  const moved = kvBytes(attention, context);
  return attention.kind === 'lightning' ? moved / 2 : moved;
}

/** FLOPs of the attention core of one layer, without projections: both products, 2 per multiply-add. */
export function coreFlops(attention: Attention, context: number, convention: Convention = 'paper'): number {
  const { num_attention_heads: heads } = attention;
  switch (attention.kind) {
    case 'mfa':
      return 4 * heads * attention.head_dim * context;
    case 'mla': {
      const qk = attention.kv_lora_rank + attention.qk_rope_head_dim;
      const pv = convention === 'paper' ? qk : attention.kv_lora_rank;
      return 2 * heads * (qk + pv) * context;
    }
    case 'gqa':
      return 4 * heads * attention.head_dim * seen(attention, context);
    case 'lightning':
      return LIGHTNING_FLOPS[convention] * stateElements(attention);
  }
}

/** Parameters of the projections around the core of one layer; norms are not counted. */
export function projectionParameters(attention: Attention, hidden: number): number {
  const { num_attention_heads: heads } = attention;
  switch (attention.kind) {
    case 'mfa': {
      const { head_dim, share_q_dim } = attention;
      return hidden * (share_q_dim + 2 * head_dim) + (share_q_dim + hidden) * heads * head_dim;
    }
    case 'mla': {
      const { q_lora_rank, kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim, v_head_dim } = attention;
      const q = heads * (qk_nope_head_dim + qk_rope_head_dim);
      return (
        (q_lora_rank === undefined ? hidden * q : q_lora_rank * (hidden + q)) +
        hidden * (kv_lora_rank + qk_rope_head_dim) +
        kv_lora_rank * heads * (qk_nope_head_dim + v_head_dim) +
        hidden * heads * v_head_dim
      );
    }
    case 'gqa': {
      const gate = attention.head_wise_gate === true ? hidden * heads : 0;
      return hidden * attention.head_dim * 2 * (heads + attention.num_key_value_heads) + gate;
    }
    case 'lightning':
      // Query, key, value, gate and output.
      return 5 * hidden * heads * attention.head_dim;
  }
}

function seen(attention: { readonly window?: number }, context: number): number {
  return Math.min(context, attention.window ?? Number.POSITIVE_INFINITY);
}

function stateElements(attention: {
  readonly num_attention_heads: number;
  readonly head_dim: number;
}): number {
  return attention.num_attention_heads * attention.head_dim ** 2;
}

/** Parameters and sparsity of the feed-forward part. */
import type { Ffn } from './models.ts';

/** Matrices of one SwiGLU block: gate, up and down. */
const MATRICES = 3;

/** Weights of one layer's FFN that a token multiplies with; the router is not counted (§4.2). */
export function activeFfnParameters(ffn: Ffn, hidden: number): number {
  return MATRICES * hidden * (ffn.kind === 'dense' ? ffn.intermediate_size : width(ffn, ffn.top_k));
}

/** All weights of one layer's FFN, without the router. */
export function ffnParameters(ffn: Ffn, hidden: number): number {
  return MATRICES * hidden * (ffn.kind === 'dense' ? ffn.intermediate_size : width(ffn, ffn.experts));
}

/** Weights of the router; none in a dense layer. */
export function routerParameters(ffn: Ffn, hidden: number): number {
  return ffn.kind === 'dense' ? 0 : hidden * ffn.experts;
}

/** Activated over all experts, shared ones included in both (§5.4); 1 for a dense layer. */
export function sparsity(ffn: Ffn): number {
  if (ffn.kind === 'dense') return 1;
  return (ffn.top_k + ffn.shared_experts) / (ffn.experts + ffn.shared_experts);
}

function width(ffn: Extract<Ffn, { kind: 'moe' }>, experts: number): number {
  return experts * ffn.intermediate_size + ffn.shared_experts * ffn.shared_intermediate_size;
}

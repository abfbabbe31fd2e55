/** Parameters of linear layers with rotary outputs or routed rows, from their shapes, for test and benchmark lists. */
import { padRow } from '../tensor.ts';
import type { KvTarget } from './kv_cache.ts';
import { dense, type LinearParams } from './linear.ts';
import type { Routing } from './routing.ts';

/** `heads` query heads of `D` elements from latents of width `K`. */
export function queryHeads(
  heads: number,
  D: number,
  K: number,
  tokens: number,
  rest: Partial<LinearParams> = {},
): LinearParams {
  const rope = { D, kAt: 0, kv: 'f32', pages: 1 } as const;
  return dense(heads * padRow(D), K, tokens, { out: 'rope_q', rope, ...rest });
}

/** A latent of width `kAt`, a key and a value of `D` elements. */
export function fusedQkv(
  kAt: number,
  D: number,
  kv: KvTarget,
  K: number,
  tokens: number,
  rest: Partial<LinearParams> = {},
): LinearParams {
  const rope = { D, kAt, kv, pages: Math.ceil(tokens / 64) + 1 };
  return dense(kAt + 2 * padRow(D), K, tokens, { out: 'qkv', rope, ...rest });
}

/** A layer of `routing.experts` experts `[N, K]` for the choices of `tokens` tokens. */
export function routed(
  routing: Routing,
  N: number,
  K: number,
  tokens: number,
  rest: Partial<LinearParams> = {},
): LinearParams {
  return dense(N, K, tokens * routing.topK, {
    source: { kind: 'routed', routing },
    shard: { expertBegin: 0, expertCount: routing.experts, rowBegin: 0, rowCount: N },
    ...rest,
  });
}

/** The same with a shared expert of `sharedRows` rows after them, in a buffer of its own. */
export function routedAndShared(
  routing: Routing,
  sharedRows: number,
  N: number,
  K: number,
  tokens: number,
  rest: Partial<LinearParams> = {},
): LinearParams {
  const { experts, topK } = routing;
  const most = Math.max(N, sharedRows);
  return dense(N, K, tokens * (topK + 1), {
    yStride: padRow(rest.out === 'swiglu' ? most / 2 : most),
    source: { kind: 'routed', routing, sharedRows },
    shard: { expertBegin: 0, expertCount: experts + 1, rowBegin: 0, rowCount: N },
    buffers: [experts, 1],
    ...rest,
  });
}

/** The linear layers of Step-3 as benchmark shapes: those of the released model, and those of small presets. */
import type { Shape } from './kernel.ts';
import { dense, grouped, type LinearParams } from './linear.ts';

/** Widths of a model, in the words of its configuration. */
interface Widths {
  readonly hidden: number;
  readonly shareQ: number;
  readonly heads: number;
  readonly dense: number;
  readonly experts: number;
  readonly expertWidth: number;
  /** Experts that one buffer holds: the released model's do not fit into one. */
  readonly expertsPerShard: number;
  readonly vocab: number;
}

const HEAD_DIM = 256;
const TOP_K = 3;

const REAL: Widths = {
  hidden: 7168,
  shareQ: 2048,
  heads: 64,
  dense: 18432,
  experts: 48,
  expertWidth: 5120,
  expertsPerShard: 12,
  vocab: 128815,
};

/** The preset step3-mini. */
const MINI: Widths = {
  hidden: 896,
  shareQ: 256,
  heads: 8,
  dense: 2304,
  experts: 48,
  expertWidth: 640,
  expertsPerShard: 48,
  vocab: 128815,
};

/** Every linear layer for `tokens` tokens in tiles of `tile` rows; with a norm where `norm` says that it is folded in. */
export function linearBench(tokens: number, tile: number, norm: 'none' | 'rms'): Shape<LinearParams>[] {
  const stories = dense(4096, 256, tokens, { tile, norm });
  return [
    ...layers(REAL, tokens, tile, norm).map((shape) => ({ ...shape, set: 'real' as const })),
    ...layers(MINI, tokens, tile, norm).map((shape) => ({ ...shape, set: 'small' as const })),
    { name: 'lm_head 4096x256', params: stories, set: 'small' },
  ];
}

function layers(w: Widths, tokens: number, tile: number, norm: 'none' | 'rms'): Shape<LinearParams>[] {
  const shard = { expertBegin: 0, expertCount: w.expertsPerShard, rowBegin: 0 };
  const pairs = tokens * TOP_K;
  const layer = (what: string, N: number, K: number, rest: Partial<LinearParams>): Shape<LinearParams> => ({
    name: `${what} ${N}x${K}`,
    params: dense(N, K, tokens, { tile, ...rest }),
  });
  const experts = (
    what: string,
    N: number,
    K: number,
    perX: number,
    rest: Partial<LinearParams>,
  ): Shape<LinearParams> => ({
    name: `${w.expertsPerShard} of ${w.experts} experts ${what} ${N}x${K}`,
    params: grouped(w.experts, N, K, pairs, perX, tile, { shard: { ...shard, rowCount: N }, ...rest }),
  });
  return [
    layer('qkv', w.shareQ + 2 * HEAD_DIM, w.hidden, { norm }),
    layer('wq', w.heads * HEAD_DIM, w.shareQ, { norm }),
    layer('o_proj', w.hidden, w.heads * HEAD_DIM, { out: 'add' }),
    layer('dense gate/up', 2 * w.dense, w.hidden, { norm, out: 'swiglu' }),
    layer('dense down', w.hidden, w.dense, { out: 'add' }),
    layer('shared gate/up', 2 * w.expertWidth, w.hidden, { norm, out: 'swiglu' }),
    layer('shared down', w.hidden, w.expertWidth, { out: 'add' }),
    experts('gate/up', 2 * w.expertWidth, w.hidden, TOP_K, { norm, out: 'swiglu' }),
    experts('down', w.hidden, w.expertWidth, 1, {}),
    layer('lm_head', w.vocab, w.hidden, { norm }),
  ];
}

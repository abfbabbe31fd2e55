/** What linear kernels do with their results: library files and their constants. */
import type { WgslName } from '../wgsl/generated.ts';
import type { LinearParams } from './linear.ts';
import { type RopeKind, ropeConstants } from './linear_rope.ts';

/** Library files that do something with results. */
export function outLibs(p: LinearParams): WgslName[] {
  if (p.out === 'swiglu') return ['lib/swiglu', ...halfLibs(p)];
  const libs: WgslName[] = [`lib/out_${p.out}`];
  if (isRope(p.out)) libs.push('lib/turn_pairs');
  if (p.out === 'qkv' && p.rope !== undefined) libs.push(`lib/kv_store_${p.rope.kv}`);
  return libs;
}

function halfLibs({ half }: LinearParams): WgslName[] {
  return half === true ? ['lib/out_swiglu_half', 'lib/half_four'] : ['lib/out_swiglu'];
}

/** Library file that binds the results of kernels that may leave them as binary16. */
export function yLib({ half }: LinearParams): WgslName {
  return half === true ? 'lib/y_half' : 'lib/y_f32';
}

/** Whether results are rotated. */
export function isRope(out: LinearParams['out']): out is RopeKind {
  return out === 'rope_q' || out === 'qkv';
}

/** Library files for kernels that ask early for what results need (`out_kept`); out_add brings its own. */
export function keepLibs({ out }: LinearParams): WgslName[] {
  return out === 'add' ? [] : ['lib/keep_none'];
}

/** Constants of the library files that do something with results. */
export function outConstants(p: LinearParams): Record<string, number> {
  if (isRope(p.out)) return p.rope === undefined ? {} : ropeConstants(p.out, p.rope);
  return p.out === 'swiglu' ? { LIMIT: p.limit ?? 0 } : {};
}

/** Whether a SwiGLU of these rows can be left as binary16: two results at a time, none of them padding. */
export function fitsHalf({ out, N, shard }: Pick<LinearParams, 'out' | 'N' | 'shard'>): boolean {
  return out === 'swiglu' && N % 16 === 0 && shard.rowBegin % 4 === 0 && shard.rowCount % 4 === 0;
}

/** The paged cache of keys and values as kernels bind it, and what those that make keys and values write. */
import { f16ToNumber, numberToF16, PLAIN_BYTES, padRow } from '../tensor.ts';
import type { WgslName } from '../wgsl/generated.ts';
import { SCALE_BYTES } from './fp8_pages.ts';
import type { BindingSpec, ReferenceIo } from './kernel.ts';
import { type KvFormat, PAGE } from './paged.ts';

/** Bytes of one row (one position of one KV head) of `D` elements, its scale included. */
export function kvRowBytes(kv: KvFormat, D: number): number {
  return kv === 'fp8' ? D + SCALE_BYTES : D * PLAIN_BYTES[kv];
}

/** Bytes of an element of a row, its share of the scale included. */
export function kvElementBytes(kv: KvFormat, D: number): number {
  return kvRowBytes(kv, D) / D;
}

/** Library files that read rows in f32: `load_k4`, `load_v4` and the scales of rows. */
export function kvLibs(kv: KvFormat): WgslName[] {
  return kv === 'fp8' ? ['lib/kv_fp8', 'lib/kv_pages', 'lib/e4m3'] : [`lib/kv_${kv}`];
}

/** Those that fetch eight elements at a time, undecoded: `fetch_k`, `fetch_v`, `low_four`, `high_four`, scales of rows. */
export function kvEightLibs(kv: KvFormat): WgslName[] {
  return kv === 'fp8' ? ['lib/kv_eight_fp8', 'lib/kv_pages', 'lib/e4m3'] : [`lib/kv_eight_${kv}`];
}

/**
 * Those that fetch eight elements at a time for matrix units, which take them as binary16: `fetch_k`, `fetch_v`, `halves`.
 * `fresh`: the kernel puts keys and values of its tokens into the cache, too (`kept`, `store_k`, `store_v`).
 */
export function kvHalfLibs(kv: KvFormat, fresh = false): WgslName[] {
  if (kv === 'f16') return ['lib/kv_half_f16', fresh ? 'lib/cache_f16_fresh' : 'lib/cache_f16'];
  const reading: WgslName[] = ['lib/kv_half_fp8', 'lib/kv_pages', 'lib/e4m3'];
  return fresh ? [...reading, 'lib/cache_fp8_fresh', 'lib/e4m3_row'] : [...reading, 'lib/cache_fp8'];
}

/** The binding of keys, or of values: `[pages * PAGE, kvHeads, padRow(D)]`. */
export function cacheBinding(
  kv: KvFormat,
  pages: number,
  kvHeads: number,
  D: number,
  use: BindingSpec['use'],
): BindingSpec {
  return { type: kv === 'fp8' ? 'fp8_pages' : kv, dims: [pages * PAGE, kvHeads, padRow(D)], use };
}

/**
 * Where kernels that make keys and values put them: into a cache of floats; or, for a cache whose scales need whole rows,
 * as f32 in the order of the tokens (`rows`), from where kv_pack takes them.
 */
export type KvTarget = Exclude<KvFormat, 'fp8'> | 'rows';

/** What such a kernel writes for `kv`. */
export function targetOf(kv: KvFormat): KvTarget {
  return kv === 'fp8' ? 'rows' : kv;
}

/** Bytes that it writes per element. */
export function targetBytes(target: KvTarget): number {
  return target === 'rows' ? 4 : PLAIN_BYTES[target];
}

/** Its bindings of the library kv_store_*. */
export function targetBindings(
  target: KvTarget,
  tokens: number,
  pages: number,
  kvHeads: number,
  D: number,
): Record<string, BindingSpec> {
  if (target === 'rows') {
    const rows: BindingSpec = { type: 'f32', dims: [tokens, kvHeads, padRow(D)], use: 'out' };
    return { k_rows: rows, v_rows: rows };
  }
  const cache = cacheBinding(target, pages, kvHeads, D, 'out');
  return { cache_rows: { type: 'u32', dims: [tokens], use: 'in' }, k_cache: cache, v_cache: cache };
}

/** The same for its reference: the buffers, the row of a token (of its first KV head), and how a value is rounded. */
export function targetValues(
  target: KvTarget,
  io: ReferenceIo,
): {
  readonly k: Float64Array;
  readonly v: Float64Array;
  row(token: number): number;
  round(value: number): number;
} {
  const plain = (value: number): number => value;
  if (target === 'rows') return { k: io.f('k_rows'), v: io.f('v_rows'), row: plain, round: plain };
  const rows = io.u('cache_rows');
  return {
    k: io.f('k_cache'),
    v: io.f('v_cache'),
    row: (token) => rows[token],
    round: target === 'f16' ? (value) => f16ToNumber(numberToF16(value)) : plain,
  };
}

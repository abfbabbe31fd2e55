/** Attention that takes heads fresh from the fused projection: their norm, rotation and way into the cache are its own. */
import { KernelError } from '../errors.ts';
import { padRow } from '../tensor.ts';
import type { BindingSpec, Cost, ReferenceIo, Values } from './kernel.ts';
import { targetOf } from './kv_cache.ts';
import { kv_pack, type PackParams } from './kv_pack.ts';
import type { AttentionParams } from './mfa_decode.ts';
import { cacheRow } from './paged.ts';
import { type NormRopeParams, qk_norm_rope } from './qk_norm_rope.ts';

/** What qk_norm_rope would be told beside what attention knows. */
export type FreshHeads = Pick<NormRopeParams, 'rotary' | 'stride' | 'eps'>;

/** A call of attention whose heads may be fresh: every token is the only new one of its sequence then. */
export type FreshParams = AttentionParams & { readonly fresh?: FreshHeads | undefined };

/** @throws KernelError naming `kernel` or qk_norm_rope when fresh heads cannot be taken. */
export function freshCheck(kernel: string, p: FreshParams): void {
  const { fresh, kv, tokens, allTokens } = p;
  if (fresh === undefined) return;
  const fail = (what: string): never => {
    throw new KernelError(kernel, what);
  };
  if (kv === 'f32') fail('kv: expected f16 or fp8 with fresh heads, got f32');
  if (!turnsByLanes(fresh.rotary)) fail(`rotary: expected 16 times a power of two, got ${fresh.rotary}`);
  if (tokens !== allTokens) fail(`tokens: expected all ${allTokens} with fresh heads, got ${tokens}`);
  qk_norm_rope.check(normRope(p, fresh));
}

/** Whether the halves of what is rotated lie in lanes whose numbers differ in one bit, eight elements in each. */
export function turnsByLanes(rotary: number): boolean {
  return rotary >= 16 && Number.isInteger(Math.log2(rotary));
}

/** The call of qk_norm_rope whose place attention takes. */
function normRope(
  { allTokens, heads, kvHeads, D, pages, kv }: FreshParams,
  fresh: FreshHeads,
): NormRopeParams {
  return { tokens: allTokens, heads, kvHeads, D, pages, kv: targetOf(kv), ...fresh };
}

/** That of kv_pack, where a cache has scales. */
function packing({ allTokens, kvHeads, D, pages, kv }: FreshParams): PackParams | undefined {
  return kv === 'fp8' ? { tokens: allTokens, kvHeads, D, pages } : undefined;
}

/** Constants of the library. */
export function freshConstants({ fresh }: FreshParams): Record<string, number> {
  return fresh === undefined ? {} : { STRIDE: fresh.stride, ROTARY: fresh.rotary, EPS: fresh.eps };
}

/** Attention's bindings: fresh heads take the place of queries, and the caches are written, too. */
export function freshBindings(
  p: FreshParams,
  ready: Readonly<Record<string, BindingSpec>>,
): Readonly<Record<string, BindingSpec>> {
  const { fresh } = p;
  if (fresh === undefined) return ready;
  const { q_rope, k_cache, v_cache, ...others } = ready;
  const { turns, q_norm, k_norm, qkv } = qk_norm_rope.bindings(normRope(p, fresh));
  const both = { use: 'inout' } as const;
  return {
    ...others,
    turns,
    q_norm,
    k_norm,
    qkv,
    k_cache: { ...k_cache, ...both },
    v_cache: { ...v_cache, ...both },
  };
}

/** What attention's own reference reads: queries made, keys and values put into the cache. */
export function freshIo(p: FreshParams, io: ReferenceIo): ReferenceIo {
  const { fresh } = p;
  if (fresh === undefined) return io;
  const places = io.u('places');
  const table = io.u('page_table');
  const queries = new Float64Array(p.allTokens * p.heads * padRow(p.D));
  const rows = Uint32Array.from({ length: p.allTokens }, (_, t) =>
    cacheRow(table, p.maxPages, places[t * 2], places[t * 2 + 1]),
  );
  const width = p.kvHeads * padRow(p.D);
  const own: Readonly<Record<string, Float64Array>> = {
    q_rope: queries,
    k_rows: new Float64Array(p.allTokens * width),
    v_rows: new Float64Array(p.allTokens * width),
  };
  const made: ReferenceIo = {
    ...io,
    f: (name) => own[name] ?? io.f(name),
    u: (name) => (name === 'cache_rows' ? rows : io.u(name)),
  };
  qk_norm_rope.reference(normRope(p, fresh), made);
  const pack = packing(p);
  if (pack !== undefined) kv_pack.reference(pack, made);
  return made;
}

const NOTHING: Cost = { flops: 0, bytesRead: 0, bytesWritten: 0 };

/** The cost of attention, with what fresh heads add to it. */
export function freshCost(p: FreshParams, ready: Cost): Cost {
  const { fresh, tokens, heads, kvHeads, D } = p;
  if (fresh === undefined) return ready;
  const made = qk_norm_rope.cost(normRope(p, fresh));
  const pack = packing(p);
  const packed = pack === undefined ? NOTHING : kv_pack.cost(pack);
  // What is neither written nor read again: queries, and keys and values that are packed.
  const kept = tokens * (heads + (pack === undefined ? 0 : 2 * kvHeads)) * D * 4;
  return {
    flops: ready.flops + made.flops + packed.flops,
    bytesRead: ready.bytesRead + made.bytesRead + packed.bytesRead - kept,
    bytesWritten: ready.bytesWritten + made.bytesWritten + packed.bytesWritten - kept,
  };
}

/** Inputs of tests and benchmarks: of the tokens themselves, the cache has nothing yet. */
export function freshInputs(
  p: FreshParams,
  ready: Readonly<Record<string, Values>>,
  random: () => number,
): Readonly<Record<string, Values>> {
  const { fresh, example } = p;
  if (fresh === undefined || example === undefined) return ready;
  const width = p.kvHeads * padRow(p.D);
  const caches = Object.fromEntries(
    ['k_cache', 'v_cache'].map((name) => {
      const cache = (ready[name] as Float64Array).slice();
      for (const [sequence, position] of example.places) {
        const row = cacheRow(ready.page_table as Uint32Array, p.maxPages, sequence, position);
        cache.fill(Number.NaN, row * width, (row + 1) * width);
      }
      return [name, cache];
    }),
  );
  const { turns } = qk_norm_rope.inputs?.(normRope(p, fresh), random) ?? {};
  return { ...ready, ...caches, turns };
}

/** A call with fresh heads, of rows as wide as they are and four elements more, for test and benchmark lists. */
export function withFresh<P extends AttentionParams>(
  p: P,
  rotary: number,
): P & { readonly fresh: FreshHeads } {
  return { ...p, fresh: { rotary, stride: (p.heads + 2 * p.kvHeads) * padRow(p.D) + 4, eps: 1e-5 } };
}

/**
 * The rotary outputs of the linear kernels: query heads rotated where they are stored, and the fused q/k/v projection
 * whose key (rotated) and value go to their rows of the cache, or on their way there. They need head_dims whose pairs fill groups of four rows.
 */
import { padRow } from '../tensor.ts';
import type { RowRange } from '../weights/layout.ts';
import type { BindingSpec, Cost, ReferenceIo, Values } from './kernel.ts';
import { type KvTarget, targetBindings, targetBytes, targetValues } from './kv_cache.ts';
import { PAGE } from './paged.ts';

/** Rows are whole query heads ('rope_q'), or a query's latent, one key and one value ('qkv'). */
export type RopeKind = 'rope_q' | 'qkv';

/**
 * What a rotary output needs beside the linear layer's own parameters. Rows 2i and 2i + 1 of every padded head are its
 * elements i and i + D/2; a value's rows are in order.
 */
export interface RopeOut {
  /** head_dim; all of it is rotated. */
  readonly D: number;
  /** First row of the key ('qkv'); the value follows after the padded head. */
  readonly kAt: number;
  readonly kv: KvTarget;
  /** Pages of the cache. */
  readonly pages: number;
}

/** What is wrong with a rotary output's parameters, or undefined. `N`, `rowBegin`: rows in all, and of this shard. */
export function ropeFault(
  kind: RopeKind,
  rope: RopeOut | undefined,
  N: number,
  rowBegin: number,
): string | undefined {
  if (rope === undefined) return `rope: expected parameters for ${kind}, got none`;
  const D8 = padRow(rope.D);
  if (rope.D % 4 !== 0 || rope.D < 4) return `D: expected a multiple of 4, got ${rope.D}`;
  if (rowBegin % 4 !== 0) return `shard: expected rows from a multiple of 4, got ${rowBegin}`;
  if (kind === 'rope_q' && N % D8 !== 0) return `N: expected whole heads of ${D8} rows, got ${N}`;
  if (kind === 'qkv' && (rope.kAt % 8 !== 0 || N !== rope.kAt + 2 * D8))
    return `N: expected kAt, a multiple of 8, and 2 x ${D8} rows, got ${N} with kAt ${rope.kAt}`;
  return undefined;
}

/** Constants of the output's library files. */
export function ropeConstants(kind: RopeKind, rope: RopeOut): Record<string, number> {
  return kind === 'qkv' ? { D: rope.D, K_AT: rope.kAt } : { D: rope.D };
}

/** Bindings beside those of any linear layer. */
export function ropeBindings(kind: RopeKind, rope: RopeOut, tokens: number): Record<string, BindingSpec> {
  const turns: BindingSpec = { type: 'f32', dims: [tokens, rope.D / 2, 2], use: 'in' };
  if (kind === 'rope_q') return { turns };
  return { turns, ...targetBindings(rope.kv, tokens, rope.pages, 1, rope.D) };
}

/** Rotates the pair (a, b) by entry `at` of turns `[.., 2]` (cosine, sine). */
export function turn(turns: Float64Array, at: number, a: number, b: number): [number, number] {
  const [cos, sin] = [turns[at * 2], turns[at * 2 + 1]];
  return [a * cos - b * sin, b * cos + a * sin];
}

/**
 * Stores the results of one token for the reference: called for its rows n in order, remembers the even row of a pair
 * until the odd one comes. `y` starts at element `at` for the token.
 */
export function ropeStore(
  kind: RopeKind,
  rope: RopeOut,
  io: ReferenceIo,
  token: number,
  at: number,
): (n: number, sum: number) => void {
  const D8 = padRow(rope.D);
  const half = rope.D / 2;
  const turns = io.f('turns');
  const y = io.f('y');
  let even = 0;
  const rotated = (
    to: Float64Array,
    head: number,
    r: number,
    sum: number,
    round: (value: number) => number,
  ) => {
    const i = Math.floor(r / 2);
    if (r >= rope.D) to[head + r] = sum;
    else if (r % 2 === 0) even = sum;
    else {
      const [a, b] = turn(turns, token * half + i, even, sum);
      to[head + i] = round(a);
      to[head + i + half] = round(b);
    }
  };
  if (kind === 'rope_q') return (n, sum) => rotated(y, at + n - (n % D8), n % D8, sum, (value) => value);
  const target = targetValues(rope.kv, io);
  const row = target.row(token) * D8;
  return (n, sum) => {
    const r = n - rope.kAt;
    if (r < 0) y[at + n] = sum;
    else if (r < D8) rotated(target.k, row, r, sum, target.round);
    else target.v[row + r - D8] = target.round(sum);
  };
}

/** Work beside the product itself, for the rows of one shard: rotations, their angles, and what is written. */
export function ropeCost(kind: RopeKind, rope: RopeOut, tokens: number, shard: RowRange): Cost {
  const latent = kind === 'qkv' ? Math.min(shard.rowCount, Math.max(0, rope.kAt - shard.rowBegin)) : 0;
  const heads = shard.rowCount - latent; // rows of heads, half of which are a value in 'qkv'
  const rotated = kind === 'qkv' ? heads / 2 : heads;
  const bytes = kind === 'qkv' ? targetBytes(rope.kv) : 4;
  return {
    flops: tokens * rotated * 3, // two products and an addition per element
    bytesRead: tokens * rope.D * 4, // turns
    bytesWritten: tokens * (latent * 4 + heads * bytes),
  };
}

/** Distinct rows of a cache of `pages`, in no order. */
export function scatteredRows(tokens: number, pages: number, random: () => number): Uint32Array {
  const order = Array.from({ length: pages * PAGE }, (_, i) => i);
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return Uint32Array.from(order.slice(0, tokens));
}

/** `[tokens, D / 2, 2]` cosines and sines of arbitrary angles. */
export function turnsOf(tokens: number, D: number, random: () => number): Float64Array {
  const turns = new Float64Array(tokens * D);
  for (let i = 0; i < turns.length; i += 2) {
    const angle = random() * 2 * Math.PI;
    turns[i] = Math.cos(angle);
    turns[i + 1] = Math.sin(angle);
  }
  return turns;
}

/** Inputs of a rotary output for tests and benchmarks. */
export function ropeInputs(
  kind: RopeKind,
  rope: RopeOut,
  tokens: number,
  random: () => number,
): Record<string, Values> {
  const turns = turnsOf(tokens, rope.D, random);
  return kind === 'rope_q' ? { turns } : { turns, cache_rows: scatteredRows(tokens, rope.pages, random) };
}

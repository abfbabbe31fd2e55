/** Probes of what prepares attention: rotary angles, norms and rotation of heads, and what writes into the cache. */
import { embed_tokens } from '../kernels/embed_tokens.ts';
import { kv_pack } from '../kernels/kv_pack.ts';
import { PAGE } from '../kernels/paged.ts';
import { qk_norm_rope } from '../kernels/qk_norm_rope.ts';
import { rope_cache } from '../kernels/rope_cache.ts';
import { rope_turns, turnsCase } from '../kernels/rope_turns.ts';
import { ceilDiv, padRow } from '../tensor.ts';
import { type ProbeShape, probe, type Some } from './probe_shape.ts';

/** Rotary angles, and rotation on the way to attention and cache. */
export function ropeProbes(some: Some): ProbeShape[] {
  const placed = [
    [1, 48],
    [20, 96],
    [60, 208],
    [150, 48],
  ] as const;
  const turnsOf = (tokens: number, dim: number) => {
    const places = Array.from({ length: tokens }, (_, s) => [s, 100] as const);
    return turnsCase(dim, { places, sequences: tokens, maxPages: 2 });
  };
  const turns = placed.map(([tokens, dim]) =>
    probe(rope_turns, `${tokens} tokens, ${dim} rotated`, turnsOf(tokens, dim)),
  );
  // One class of layers, then two.
  const begins = placed.map(([tokens, dim], i) => {
    const classes = Array.from({ length: 1 + (i % 2) }, () => turnsOf(tokens, dim));
    const K = [416, 1664, 3328, 3328][i];
    const table = { format: 'bf16', tokens, K, rowBegin: 0, rowCount: 2000 } as const;
    return probe(embed_tokens, `${tokens} tokens of ${K} with places`, { ...table, classes });
  });
  const caches = (
    [
      [1, 3, 90],
      [20, 12, 90],
      [60, 40, 202],
    ] as const
  ).map(([tokens, heads, D]) =>
    probe(rope_cache, `${tokens} tokens, ${heads} heads of ${D}`, {
      ...{ tokens, heads, D, kAt: 104, kv: 'f16', pages: 4 },
      qkvStride: 104 + 2 * padRow(D),
    }),
  );
  // The first are one pipeline: software drivers take seconds to compile it.
  const heads = [
    ...([1, 20, 60, 200] as const).map((tokens) => [tokens, 3, 1, 24, 12] as const),
    ...([
      [1, 72, 6, 112, 56],
      [60, 72, 6, 112, 112],
      [8, 24, 3, 112, 56],
      [200, 24, 3, 96, 48],
    ] as const),
  ];
  const norms = some(heads, 4).map(([tokens, heads, kvHeads, D, rotary]) =>
    probe(qk_norm_rope, `${tokens} tokens, ${heads} heads of ${D} on ${kvHeads}`, {
      ...{ tokens, heads, kvHeads, D, rotary, eps: 1e-5, kv: 'f16', pages: ceilDiv(tokens, PAGE) + 1 },
      stride: (heads + 2 * kvHeads) * padRow(D),
    }),
  );
  const packs = (
    [
      [1, 1, 208],
      [20, 3, 112],
      [60, 6, 112],
      [200, 1, 208],
    ] as const
  ).map(([tokens, kvHeads, D]) =>
    probe(kv_pack, `${tokens} tokens, ${kvHeads} heads of ${D}`, {
      ...{ tokens, kvHeads, D, pages: ceilDiv(tokens, PAGE) + 1 },
    }),
  );
  return [...turns, ...begins, ...caches, ...norms, ...packs];
}

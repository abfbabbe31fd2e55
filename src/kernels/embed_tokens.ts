/** What a step begins with: rows of the embedding table for token ids, decoded to f32, and what layers need of their places. */
import { KernelError } from '../errors.ts';
import { rowBytes } from '../formats/index.ts';
import { ceilDiv, padRow, type WeightFormat } from '../tensor.ts';
import type { WgslName } from '../wgsl/generated.ts';
import { FORMAT_CASES } from './format_cases.ts';
import { type Cost, defineKernel, type Kernel, PLAIN, toleranceOf } from './kernel.ts';
import { PLACE_LIBS, rope_turns, type TurnsParams, turnsCase } from './rope_turns.ts';
import { blockLibs, weightBinding, weightConstants, weightFault } from './weights.ts';

export interface EmbedParams {
  readonly format: WeightFormat;
  /** Columns that share a scale (`fp8`, `int4`). */
  readonly group?: number | undefined;
  readonly tokens: number;
  /** hidden_size. */
  readonly K: number;
  /** Rows of the table in this shard. */
  readonly rowBegin: number;
  readonly rowCount: number;
  /** Up to two classes of layers, for which the call also prepares what rope_turns does. */
  readonly classes?: readonly TurnsParams[];
}

/** Storage buffers that a call binds for its own: weights, ids and results; for places, and for each class beside these. */
export const EMBED_BUFFERS = { own: 3, places: 1, each: 4, classes: 2 } as const;

/** Library files by the number of classes. */
const CLASSES: readonly (readonly WgslName[])[] = [
  ['lib/classes_none'],
  ['lib/classes_one', ...PLACE_LIBS],
  ['lib/classes_two', ...PLACE_LIBS],
];

/** What is the same for all classes. */
const COMMON: readonly string[] = ['places', 'PAGE'];

/** A name of rope_turns in the call, for class `number`. */
const nameIn = (number: number, name: string): string =>
  number === 0 || COMMON.includes(name) ? name : `${name}_${number}`;

/** What would be records of rope_turns, such as its slots, one for each class, as one of the call. */
export function joinedClasses<T>(classes: readonly Readonly<Record<string, T>>[]): Record<string, T> {
  return Object.fromEntries(
    classes.flatMap((record, number) =>
      Object.entries(record).map(([name, value]) => [nameIn(number, name), value]),
    ),
  );
}

/** What the classes add to a record of the call. */
function ofClasses<T>(
  { classes = [] }: EmbedParams,
  of: (turns: TurnsParams) => Readonly<Record<string, T>>,
): Record<string, T> {
  return joinedClasses(classes.map(of));
}

export const embed_tokens: Kernel<EmbedParams> = defineKernel<EmbedParams>({
  name: 'embed_tokens',
  summary: 'h = embedding[token id]; with it, what rope_turns makes of the places of tokens',
  variants: [PLAIN],
  libs: (p) => [...blockLibs(p), ...CLASSES[p.classes?.length ?? 0]],
  check(p) {
    if (!(p.tokens >= 1 && p.K >= 1 && p.rowCount >= 1)) {
      throw new KernelError('embed_tokens', `expected tokens, K, rowCount >= 1, got ${JSON.stringify(p)}`);
    }
    const fault = weightFault(p, p.K);
    if (fault !== undefined) throw new KernelError('embed_tokens', fault);
    const { classes = [] } = p;
    if (classes.length > EMBED_BUFFERS.classes || classes.some(({ tokens }) => tokens !== p.tokens)) {
      throw new KernelError('embed_tokens', `classes: expected at most two, of ${p.tokens} tokens`, {
        classes,
      });
    }
    classes.forEach(rope_turns.check);
  },
  constants: (p) => ({ K: p.K, ...weightConstants(p), ...ofClasses(p, rope_turns.constants) }),
  uniforms: (p) => ({
    row_begin: p.rowBegin,
    row_count: p.rowCount,
    ...{ max_pages: 0, max_pages_1: 0 },
    ...ofClasses(p, rope_turns.uniforms),
  }),
  bindings: (p) => ({
    w: weightBinding(p, p.rowCount, p.K),
    token_ids: { type: 'u32', dims: [p.tokens], use: 'in' },
    h: { type: 'f32', dims: [p.tokens, padRow(p.K)], cols: p.K, use: 'out' },
    ...ofClasses(p, rope_turns.bindings),
  }),
  workgroups: (p) => [p.tokens, ceilDiv(p.K, 512) + (p.classes?.length ?? 0), 1],
  reference(p, io) {
    const ids = io.u('token_ids');
    const h = io.f('h');
    const w = io.m('w');
    const row = new Float64Array(padRow(p.K));
    for (let t = 0; t < p.tokens; t++) {
      const local = ids[t] - p.rowBegin;
      if (local < 0 || local >= p.rowCount) continue;
      w.row(local, row);
      for (let k = 0; k < p.K; k++) h[t * padRow(p.K) + k] = row[k];
    }
    p.classes?.forEach((turns, number) => {
      const of = (name: string) => nameIn(number, name);
      rope_turns.reference(turns, { ...io, f: (name) => io.f(of(name)), u: (name) => io.u(of(name)) });
    });
  },
  cost(p) {
    const classes = (p.classes ?? []).map(rope_turns.cost);
    const sum = (of: (cost: Cost) => number): number => classes.reduce((all, cost) => all + of(cost), 0);
    return {
      flops: sum((cost) => cost.flops),
      bytesRead: p.tokens * (rowBytes(p, p.K) + 4) + sum((cost) => cost.bytesRead), // one row and one id per token
      bytesWritten: p.tokens * p.K * 4 + sum((cost) => cost.bytesWritten),
    };
  },
  tolerance: (p) =>
    p.classes?.[0] === undefined
      ? { abs: 0, rel: 0, cosine: 0 }
      : toleranceOf(rope_turns, p.classes[0], PLAIN),
  inputs: (p, random) => ({
    ...ofClasses(p, (turns) => rope_turns.inputs?.(turns, random) ?? {}),
    // Some ids lie in other shards.
    token_ids: Uint32Array.from({ length: p.tokens }, (_, t) =>
      t === 1 ? p.rowBegin + p.rowCount : p.rowBegin + Math.floor(random() * p.rowCount),
    ),
  }),
  shapes: {
    test: [
      { name: 'one token', params: { format: 'bf16', tokens: 1, K: 64, rowBegin: 0, rowCount: 5 } },
      { name: 'odd width, f32', params: { format: 'f32', tokens: 4, K: 13, rowBegin: 0, rowCount: 9 } },
      {
        name: 'second shard, f16, several iterations',
        params: { format: 'f16', tokens: 5, K: 1000, rowBegin: 7, rowCount: 6 },
      },
      { name: 'places of three tokens', params: withClasses(640, [16]) },
      { name: 'two classes, one with a window in a ring', params: withClasses(13, [200, 6]) },
      ...FORMAT_CASES.map(({ name, format, group, K }) => ({
        name,
        params: { format, group, tokens: 4, K, rowBegin: 3, rowCount: 5 },
      })),
    ],
    bench: [
      {
        name: '1 token of 7168',
        params: { format: 'bf16', tokens: 1, K: 7168, rowBegin: 0, rowCount: 128815 },
        set: 'real',
      },
      {
        name: '1 token of 4096 with places, two classes',
        params: withClasses(4096, [64, 128], 1),
        set: 'real',
      },
      {
        name: '256 tokens of 7168, a shard of 8192 rows',
        params: { format: 'bf16', tokens: 256, K: 7168, rowBegin: 0, rowCount: 8192 },
        set: 'real',
      },
      {
        name: '16 tokens of 256',
        params: { format: 'bf16', tokens: 16, K: 256, rowBegin: 0, rowCount: 4096 },
        set: 'small',
      },
    ],
  },
});

/** Up to three tokens with places, in classes of so many rotated elements: the second has a window. */
function withClasses(K: number, rotated: readonly number[], tokens: number = 3): EmbedParams {
  const three = [
    [1, 163],
    [1, 164],
    [0, 5],
  ] as const;
  const places = three.slice(0, tokens);
  const rings = [{ maxPages: 4 }, { maxPages: 2, window: 10 }];
  const classes = rotated.map((dim, i) => turnsCase(dim, { places, sequences: 2, ...rings[i] }));
  return { format: 'bf16', tokens, K, rowBegin: 0, rowCount: 5, classes };
}

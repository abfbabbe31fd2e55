/** Probes of attention. */
import type { Heat } from '../cost/calibration.ts';
import { groupedHeads } from '../kernels/attention_cases.ts';
import { withFresh } from '../kernels/fresh_heads.ts';
import type { AnyKernel } from '../kernels/kernel.ts';
import { mfa_combine } from '../kernels/mfa_combine.ts';
import { type AttentionParams, mfa_decode } from '../kernels/mfa_decode.ts';
import { mfa_matrix } from '../kernels/mfa_matrix.ts';
import { mfa_prefill } from '../kernels/mfa_prefill.ts';
import { mfa_quad } from '../kernels/mfa_quad.ts';
import { mfa_tile } from '../kernels/mfa_tile.ts';
import { type KvFormat, PAGE } from '../kernels/paged.ts';
import { ceilDiv } from '../tensor.ts';
import { CACHED, COLD, type ProbeShape, probe, type Some } from './probe_shape.ts';

/** Formats of the cache whose kernel families have probes: the usual one more of them. */
const PROBED_CACHES = ['f16', 'fp8'] as const;

/** One context for a batch, in slices; KV heads (default 1), and a window of that context. */
type Slices = readonly [
  heads: number,
  D: number,
  batch: number,
  context: number,
  splitLen: number,
  kvHeads?: number,
  window?: number,
];

function slices(
  [heads, D, batch, context, splitLen, kvHeads = 1, window]: Slices,
  kv: KvFormat,
  prompt = false,
): AttentionParams {
  const places = Array.from({ length: batch }, (_, i) =>
    prompt ? ([0, context - batch + i] as const) : ([i, context - 1] as const),
  );
  const seen = Math.min(context, window ?? context);
  const ring =
    window === undefined ? undefined : { window, maxPages: ceilDiv(window + (prompt ? batch : 0), PAGE) + 1 };
  return groupedHeads(heads, kvHeads, D, kv, ceilDiv(seen, splitLen), splitLen, places, ring);
}

function attention(
  kernel: AnyKernel,
  shape: Slices,
  heat: Heat = COLD,
  kv: (typeof PROBED_CACHES)[number] = 'f16',
  prompt = false,
): ProbeShape {
  const [heads, D, batch, context, splitLen, kvHeads = 1, window] = shape;
  const seen = window === undefined ? `context ${context}` : `window ${window}`;
  const label = `${kv === 'f16' ? '' : `, ${kv}`}${prompt ? ', one prompt' : ''}`;
  const name = `${heads} heads of ${D} on ${kvHeads}, batch ${batch}, ${seen} by ${splitLen}${label}`;
  return probe(kernel, name, slices(shape, kv, prompt), heat);
}

export function matrixAttention(): ProbeShape[] {
  const cold: readonly Slices[] = [
    ...([
      [24, 256, 1, 640, 64],
      [48, 256, 1, 12000, 96],
      [24, 256, 3, 6000, 160],
    ] as const),
    ...([
      [40, 256, 12, 20000, 1888],
      [48, 256, 24, 5000, 960],
      [16, 256, 40, 700, 224],
    ] as const),
    ...([
      [48, 256, 1, 3000, 64],
      [40, 256, 1, 24000, 192],
      [48, 256, 6, 10000, 480],
    ] as const),
    [48, 256, 40, 5000, 1600],
  ];
  const cached: readonly Slices[] = [
    [24, 256, 1, 640, 64],
    [48, 256, 1, 3000, 64],
    [24, 256, 3, 3000, 96],
  ];
  return PROBED_CACHES.flatMap((kv) => [
    ...cold.slice(0, kv === 'f16' ? cold.length : 6).map((shape) => attention(mfa_matrix, shape, COLD, kv)),
    ...cached.slice(0, kv === 'f16' ? 3 : 1).map((shape) => attention(mfa_matrix, shape, CACHED, kv)),
  ]);
}

/** All shapes of the usual cache, fewer of another. */
function fewer(shapes: readonly Slices[], kv: (typeof PROBED_CACHES)[number]): readonly Slices[] {
  return shapes.slice(0, kv === 'f16' ? shapes.length : 5);
}

/** mfa_tile with heads fresh from their projection, half of each or all of it rotated. */
function freshTiles(shape: Slices, heat: Heat, kv: (typeof PROBED_CACHES)[number]): ProbeShape {
  const { kernel, shape: name, params } = attention(mfa_tile, shape, heat, kv);
  const [, D, , , , kvHeads] = shape;
  return probe(
    kernel,
    `${name}, fresh`,
    withFresh(params as AttentionParams, kvHeads === 6 ? D : D / 2),
    heat,
  );
}

export function tileAttention(): ProbeShape[] {
  const whole: readonly Slices[] = [
    [24, 256, 1, 60, 64],
    [24, 256, 20, 120, 128],
    [72, 128, 1, 250, 256, 6],
    [72, 128, 12, 250, 256, 6],
    [24, 128, 3, 100, 128, 3],
    [24, 64, 1, 50, 64],
  ];
  const parts: readonly Slices[] = [
    ...([
      [24, 256, 1, 640, 64],
      [72, 128, 1, 700, 64, 6],
      [48, 256, 1, 3000, 128],
    ] as const),
    ...([
      [72, 128, 5, 3000, 256, 6],
      [40, 256, 3, 1000, 64],
      [24, 128, 1, 5000, 128, 3],
    ] as const),
    ...([
      [72, 128, 12, 9000, 256, 6],
      [24, 64, 2, 900, 64, 2],
      [72, 128, 20, 9000, 192, 6, 700],
      [24, 128, 1, 30000, 256, 3],
    ] as const),
  ];
  const ready = PROBED_CACHES.flatMap((kv) =>
    [whole, parts].flatMap((shapes) => [
      ...fewer(shapes, kv).map((shape) => attention(mfa_tile, shape, COLD, kv)),
      ...shapes.slice(0, kv === 'f16' ? 2 : 1).map((shape) => attention(mfa_tile, shape, CACHED, kv)),
    ]),
  );
  const fresh = PROBED_CACHES.flatMap((kv) =>
    [whole.slice(2), parts].flatMap((shapes) => [
      ...fewer(shapes, kv).map((shape) => freshTiles(shape, COLD, kv)),
      freshTiles(shapes[0], CACHED, kv),
    ]),
  );
  return [...ready, ...fresh];
}

/** Chunks of a prompt: `batch` tokens of one sequence, which end at `context`. */
export function prefillAttention(): ProbeShape[] {
  const whole: readonly Slices[] = [
    [24, 256, 40, 700, 704],
    [72, 128, 96, 3000, 3008, 6],
    [40, 64, 200, 900, 928, 5],
    [48, 256, 150, 2500, 2528],
  ];
  const parts: readonly Slices[] = [
    [48, 256, 8, 5000, 640],
    [72, 128, 30, 9000, 1152, 6],
    [24, 256, 16, 3000, 320],
    [72, 128, 40, 9000, 384, 6, 700],
  ];
  return PROBED_CACHES.flatMap((kv) =>
    [whole, parts].flatMap((shapes) =>
      shapes.slice(0, kv === 'f16' ? 4 : 3).map((shape) => attention(mfa_prefill, shape, COLD, kv, true)),
    ),
  );
}

export function plainAttention(some: Some): ProbeShape[] {
  // Pipelines differ by heads and width. Heads of a workgroup: up to 4, up to 16, more.
  const few: readonly Slices[] = [
    ...([
      [3, 96, 1, 200, 64],
      [3, 96, 5, 1100, 64],
      [3, 96, 1, 1100, 576],
    ] as const),
    ...([
      [6, 32, 12, 700, 64, 2],
      [3, 208, 12, 700, 64],
      [3, 208, 12, 5000, 160],
    ] as const),
    ...([
      [3, 96, 20, 700, 64],
      [12, 96, 5, 5000, 64, 3, 900],
      [3, 208, 1, 1100, 64],
    ] as const),
  ];
  const some16: readonly Slices[] = [
    ...([
      [12, 208, 1, 200, 64],
      [12, 208, 5, 700, 64],
      [12, 96, 1, 1100, 576],
    ] as const),
    ...([
      [24, 112, 1, 700, 64, 3],
      [12, 208, 12, 700, 64],
      [12, 208, 12, 5000, 160],
    ] as const),
    ...([
      [72, 112, 1, 9000, 64, 6, 900],
      [72, 112, 12, 9000, 320, 6],
      [72, 112, 12, 9000, 64, 6, 400],
    ] as const),
    ...([
      [48, 112, 24, 700, 352, 6],
      [12, 96, 5, 3000, 64],
      [24, 112, 5, 1100, 96, 3],
    ] as const),
  ];
  const many: readonly Slices[] = [
    ...([
      [40, 208, 1, 200, 64],
      [40, 208, 5, 700, 64],
      [40, 96, 1, 1100, 576],
    ] as const),
    ...([
      [40, 96, 5, 3000, 64],
      [40, 208, 12, 700, 64],
      [40, 208, 12, 5000, 160],
    ] as const),
    ...([
      [48, 208, 12, 5000, 480],
      [40, 208, 1, 1100, 64],
    ] as const),
  ];
  const cached: readonly Slices[] = [
    ...([
      [3, 96, 1, 200, 64],
      [3, 96, 5, 1100, 64],
      [12, 208, 1, 200, 64],
    ] as const),
    ...([
      [12, 208, 5, 700, 64],
      [40, 208, 1, 200, 64],
      [40, 208, 5, 700, 64],
    ] as const),
  ];
  const cold = (kv: (typeof PROBED_CACHES)[number], most: number) =>
    [few, some16, many].flatMap((shapes) =>
      some(shapes.slice(0, most), 4).map((shape) => attention(mfa_decode, shape, COLD, kv)),
    );
  return [
    ...cold('f16', Number.POSITIVE_INFINITY),
    ...cold('fp8', 7),
    ...cached.map((shape) => attention(mfa_decode, shape, CACHED)),
    // One of each number of heads.
    ...some(
      cached.filter((_, i) => i % 2 === 0),
      0,
    ).map((shape) => attention(mfa_decode, shape, CACHED, 'fp8')),
  ];
}

/**
 * By heads of a workgroup, which follow from how many workgroups there are, as whole contexts and in slices. The first three
 * of a list are one pipeline.
 */
const QUADS: readonly { readonly cold: readonly Slices[]; readonly cached: readonly Slices[] }[] = [
  // One head.
  {
    cold: [
      ...([
        [3, 96, 1, 300, 300],
        [3, 96, 40, 300, 300],
        [3, 96, 1, 1100, 1100],
      ] as const),
      ...([
        [3, 96, 40, 100, 100],
        [24, 112, 1, 250, 250, 3],
        [6, 40, 1, 450, 450, 2],
        [12, 208, 1, 60, 60],
      ] as const),
    ],
    cached: [[3, 96, 1, 300, 300]],
  },
  {
    cold: [
      ...([
        [3, 96, 1, 1100, 192],
        [3, 96, 12, 1100, 384],
        [3, 96, 1, 5000, 1024],
      ] as const),
      ...([
        [12, 208, 1, 500, 64],
        [24, 112, 1, 700, 160, 3],
      ] as const),
    ],
    cached: [[3, 96, 1, 1100, 192]],
  },
  // Two.
  {
    cold: [
      ...([
        [12, 96, 12, 200, 200],
        [12, 96, 20, 500, 500],
        [12, 96, 16, 300, 300],
      ] as const),
      ...([
        [24, 112, 8, 120, 120, 3],
        [40, 208, 5, 90, 90],
      ] as const),
    ],
    cached: [[12, 96, 20, 500, 500]],
  },
  {
    cold: [
      ...([
        [12, 96, 5, 700, 256],
        [12, 96, 6, 1100, 384],
        [12, 96, 1, 9000, 640],
      ] as const),
      ...([
        [40, 208, 1, 300, 64],
        [24, 112, 1, 1100, 128, 3],
      ] as const),
    ],
    cached: [[12, 96, 5, 700, 256]],
  },
  // Four.
  {
    cold: [
      ...([
        [12, 96, 40, 300, 300],
        [12, 96, 30, 100, 100],
        [12, 96, 60, 500, 500],
      ] as const),
      ...([
        [24, 112, 12, 120, 120, 3],
        [72, 112, 12, 250, 250, 6],
        [40, 208, 12, 60, 60],
      ] as const),
    ],
    cached: [[12, 96, 30, 100, 100]],
  },
  {
    cold: [
      ...([
        [12, 96, 12, 700, 256],
        [12, 96, 30, 1100, 384],
        [12, 96, 40, 500, 128],
      ] as const),
      ...([
        [40, 208, 1, 500, 64],
        [24, 112, 5, 1100, 128, 3],
        [72, 112, 1, 9000, 128, 6, 400],
      ] as const),
      ...([
        [24, 112, 1, 9000, 256, 3],
        [40, 208, 4, 700, 192],
      ] as const),
    ],
    cached: [
      [12, 96, 12, 700, 256],
      [40, 208, 1, 500, 64],
    ],
  },
];

export function quadAttention(some: Some): ProbeShape[] {
  return PROBED_CACHES.flatMap((kv) =>
    QUADS.flatMap(({ cold, cached }) => [
      // Of fp8, fewer.
      ...some(kv === 'f16' ? cold : cold.slice(0, 4), 3).map((shape) => attention(mfa_quad, shape, COLD, kv)),
      ...some(cached.slice(0, kv === 'f16' ? cached.length : 1), kv === 'f16' ? 1 : 0).map((shape) =>
        attention(mfa_quad, shape, CACHED, kv),
      ),
    ]),
  );
}

export function combineProbes(some: Some): ProbeShape[] {
  const shapes: readonly Slices[] = [
    ...([
      [12, 96, 1, 120, 64],
      [12, 96, 20, 700, 224],
      [12, 96, 1, 1100, 64],
    ] as const),
    ...([
      [40, 208, 3, 700, 224],
      [40, 208, 40, 700, 352],
      [40, 208, 1, 190, 64],
    ] as const),
    ...([
      [12, 96, 20, 3000, 128],
      [40, 208, 1, 3000, 64],
      [40, 208, 6, 5000, 256],
    ] as const),
    ...([
      [40, 208, 1, 12000, 96],
      [40, 208, 1, 24000, 192],
      [40, 208, 24, 5000, 960],
      [40, 208, 40, 5000, 800],
    ] as const),
  ];
  return some(shapes, 6).map((shape) => attention(mfa_combine, shape));
}

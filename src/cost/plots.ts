/** The figures of the Step-3 report, and a roofline, as Vega-Lite specifications: data only, drawn elsewhere. */
import type { TopLevelSpec } from 'vega-lite';
import { PAPER_HARDWARE } from './cards.ts';
import { type Hardware, peakFlops } from './hardware.ts';
import type { CostModel } from './models.ts';
import { COST_MODELS } from './presets.ts';
import { bestPairing, pairing } from './price.ts';
import { HEADLINES } from './printed.ts';
import { type TokenCost, tokenCost } from './token.ts';

/** A figure: its file, what it shows, and how. */
export interface Plot {
  readonly file: string;
  readonly title: string;
  readonly spec: TopLevelSpec;
}

/** The contexts of Figures 1 and 2. */
const SHOWN = [8192, 32768];

/** Contexts of the curves: powers of two, 1K to 128K. */
const CONTEXTS = Array.from({ length: 8 }, (_, i) => 1024 * 2 ** i);

/** What all figures share. */
const LOOK = {
  background: 'white',
  // Without a description of every mark: the title tells what is shown, the document's table has the values.
  config: {
    aria: false,
    axis: { gridColor: '#e5e5e5', labelFontSize: 11, titleFontSize: 12 },
    view: { stroke: '#bbb' },
  },
} as const;

const DOLLARS = '$ per million tokens';

/** All figures, for the models given (the presets unless given) on the hardware of the report. */
export function costPlots(models: readonly CostModel[] = Object.values(COST_MODELS)): Plot[] {
  return [costByContext(models), costByHardware(models), figure3(), rooflines(models)];
}

/** Dollars on the best pairing against the context. */
function costByContext(models: readonly CostModel[]): Plot {
  const title = 'Cost of decoding against the context, attention and FFN each on the cheapest hardware';
  const values = models.flatMap((model) =>
    CONTEXTS.map((context) => ({
      model: model.name,
      context,
      dollars: bestPairing(tokenCost(model, context), PAPER_HARDWARE).total,
    })),
  );
  const printed = Object.entries(HEADLINES).flatMap(([id, { at_8k, at_32k }]) => [
    { model: COST_MODELS[id].name, context: 8192, dollars: at_8k },
    { model: COST_MODELS[id].name, context: 32768, dollars: at_32k },
  ]);
  const y = logAxis('dollars', 0.01, 1, DOLLARS);
  return {
    file: 'cost-context.svg',
    title,
    spec: {
      ...LOOK,
      title: [title, 'points: printed in the report'],
      width: 560,
      height: 360,
      encoding: {
        x: contextAxis(CONTEXTS),
        y,
        color: {
          field: 'model',
          type: 'nominal',
          sort: null,
          scale: { scheme: models.length > 10 ? 'tableau20' : 'tableau10' },
          title: null,
        },
      },
      layer: [
        { data: { values }, mark: { type: 'line' } },
        { data: { values: printed }, mark: { type: 'square', size: 40, opacity: 1 } },
      ],
    },
  };
}

/** Figures 1 and 2: dollars on each kind of hardware alone, and on the best pairing. */
function costByHardware(models: readonly CostModel[]): Plot {
  const title = 'Cost of decoding on each hardware, and on the best pairing (Figures 1 and 2)';
  const values = models.flatMap((model) =>
    SHOWN.flatMap((context) => {
      const token = tokenCost(model, context);
      const row = { model: model.name, context: `context ${context}` };
      return [
        ...PAPER_HARDWARE.map((card) => ({
          ...row,
          hardware: card.name,
          dollars: pairing(token, card, card).total,
        })),
        { ...row, hardware: 'best pairing', dollars: bestPairing(token, PAPER_HARDWARE).total },
      ];
    }),
  );
  return {
    file: 'cost-hardware.svg',
    title,
    spec: {
      ...LOOK,
      title,
      data: { values },
      facet: {
        column: {
          field: 'context',
          type: 'nominal',
          sort: SHOWN.map((context) => `context ${context}`),
          title: null,
        },
      },
      spec: {
        width: 330,
        height: 230,
        mark: { type: 'tick', thickness: 3, size: 13 },
        encoding: {
          y: { field: 'model', type: 'nominal', sort: null, title: null, axis: { ticks: false } },
          x: { field: 'dollars', type: 'quantitative', title: DOLLARS },
          color: { field: 'hardware', type: 'nominal', sort: null, title: null },
        },
      },
      resolve: { scale: { x: 'independent' } },
    },
  };
}

/** Figure 3: Step-3 beside the two hybrids on H800, up to 128K. */
function figure3(): Plot {
  const title = 'Step-3 and two hybrids on H800 (Figure 3)';
  const [h800] = PAPER_HARDWARE;
  const values = ['llama4-maverick', 'minimax-m1', 'step3'].flatMap((id) =>
    [8192, 32768, 131072].flatMap((context) => {
      const token = tokenCost(COST_MODELS[id], context);
      const row = { model: COST_MODELS[id].name, context };
      return [
        { ...row, what: 'keys, values and states, GB per token', value: token.kv_bytes / 1e9 },
        { ...row, what: DOLLARS, value: pairing(token, h800, h800).total },
      ];
    }),
  );
  return {
    file: 'cost-hybrids.svg',
    title,
    spec: {
      ...LOOK,
      title,
      data: { values },
      facet: { column: { field: 'what', type: 'nominal', sort: null, title: null } },
      spec: {
        width: 300,
        height: 220,
        mark: { type: 'line', point: true },
        encoding: {
          x: contextAxis([8192, 32768, 131072]),
          y: logAxis('value', 0.05, 10, null),
          color: { field: 'model', type: 'nominal', sort: null, title: null },
        },
      },
      resolve: { scale: { y: 'independent' } },
    },
  };
}

/** What each hardware reaches at an intensity, and where the models' attention lies (§5.1). */
function rooflines(models: readonly CostModel[]): Plot {
  const title =
    'Roofline of the attention core: what each hardware reaches at the models’ arithmetic intensities';
  const roofs = PAPER_HARDWARE.flatMap((card) => {
    const ridge = peakFlops(card) / card.bytes_per_second;
    return [2, ridge, 2048].map((intensity) => point(card, intensity));
  });
  const cores = models.map((model) => ({ model: model.name, token: tokenCost(model, 32768) }));
  const points = cores.flatMap(({ model, token }) =>
    PAPER_HARDWARE.map((card) => ({ ...point(card, token.arithmetic_intensity), model })),
  );
  const x = {
    field: 'intensity',
    type: 'quantitative' as const,
    scale: { type: 'log' as const, domain: [2, 2048], nice: false },
    title: 'attention FLOPs per byte of keys and values, context 32768',
    axis: { values: [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048], format: 'd' },
  };
  const y = logAxis('tflops', 2, 10000, 'TFLOP/s');
  const color = { field: 'hardware', type: 'nominal', sort: null, title: null } as const;
  return {
    file: 'cost-roofline.svg',
    title,
    spec: {
      ...LOOK,
      title,
      width: 640,
      height: 380,
      layer: [
        { data: { values: roofs }, mark: { type: 'line' }, encoding: { x, y, color } },
        {
          data: { values: points },
          mark: { type: 'square', size: 30, opacity: 1 },
          encoding: { x, y, color },
        },
        // Where the roofs leave room: above them at low intensities, below them at high ones.
        ...([true, false] as const).map((above) => ({
          data: { values: labels(cores).filter(({ intensity }) => intensity < 64 === above) },
          mark: {
            type: 'text' as const,
            angle: 270,
            align: above ? ('right' as const) : ('left' as const),
            dx: above ? -4 : 4,
            fontSize: 11,
            color: '#555',
          },
          encoding: {
            x,
            y: { value: above ? 0 : 380 },
            text: { field: 'model', type: 'nominal' as const },
          },
        })),
      ],
    },
  };
}

/** Models of one intensity share a label. */
function labels(
  cores: readonly { readonly model: string; readonly token: TokenCost }[],
): { intensity: number; model: string }[] {
  const groups = new Map<number, string[]>();
  for (const { model, token } of cores) {
    const intensity = Math.round(token.arithmetic_intensity);
    groups.set(intensity, [...(groups.get(intensity) ?? []), model]);
  }
  return [...groups].map(([intensity, models]) => ({ intensity, model: models.join(', ') }));
}

function point(card: Hardware, intensity: number): { hardware: string; intensity: number; tflops: number } {
  const flops = Math.min(peakFlops(card), intensity * card.bytes_per_second);
  return { hardware: card.name, intensity, tflops: flops / 1e12 };
}

function contextAxis(values: readonly number[]) {
  return {
    field: 'context',
    type: 'quantitative' as const,
    scale: { type: 'log' as const, base: 2, domain: [values[0], values[values.length - 1]], nice: false },
    axis: { values: [...values], labelExpr: "datum.value / 1024 + 'K'" },
    title: 'context, tokens',
  };
}

/** A logarithmic axis from `low` to `high` with marks at 1, 2 and 5 times powers of ten. */
function logAxis(field: string, low: number, high: number, title: string | null) {
  const powers = Array.from({ length: 12 }, (_, i) => i - 4);
  const marks = powers.flatMap((power) => [1, 2, 5].map((digit) => Number(`${digit}e${power}`)));
  return {
    field,
    type: 'quantitative' as const,
    scale: { type: 'log' as const, domain: [low, high], nice: false },
    axis: { values: marks.filter((mark) => mark >= low && mark <= high), format: '~g' },
    title,
  };
}

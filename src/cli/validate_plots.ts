/** Plots of a validation as SVG: predicted against measured, and where the time of each step goes. */

/** A step to be plotted. */
export interface PlotStep {
  readonly model: string;
  readonly batch: number;
  readonly context: number;
  /** Milliseconds. */
  readonly measured: number;
  readonly predicted: number;
  /** Milliseconds by part of the model, in the order of {@link PARTS}. */
  readonly measuredParts: readonly number[];
  readonly predictedParts: readonly number[];
}

/** Parts of a step, and which labels of calls belong to them. */
export const PARTS: readonly { readonly name: string; readonly colour: string; readonly label: RegExp }[] = [
  { name: 'attention core', colour: '#4477aa', label: /mfa_(decode|combine)/ },
  { name: 'attention projections', colour: '#66ccee', label: /qkv_proj|\.wq|o_proj|rope/ },
  { name: 'routing', colour: '#ccbb44', label: /moe\.(gate(?!_)|route|combine)/ },
  { name: 'experts', colour: '#ee6677', label: /\.moe\./ },
  { name: 'shared expert', colour: '#aa3377', label: /share_expert/ },
  { name: 'dense FFN', colour: '#228833', label: /\.mlp\./ },
  { name: 'embedding, head, sampling', colour: '#bbbbbb', label: /./ },
  { name: 'between calls', colour: '#444444', label: /$^/ },
];

/** Index into {@link PARTS} of a call. */
export function partOf(label: string): number {
  return PARTS.findIndex((part) => part.label.test(label));
}

const STYLE =
  'text{font:12px sans-serif;fill:#333}.head{font-weight:bold}.grid{stroke:#ddd}.tick{fill:#777}.end{text-anchor:end}.mid{text-anchor:middle}.one{stroke:#333}.band{fill:#4477aa;opacity:.12}';
const COLOURS = ['#4477aa', '#ee6677', '#228833', '#ccbb44', '#66ccee', '#aa3377', '#bbbbbb'];

function xml(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
}

function svg(width: number, height: number, title: string, body: readonly string[]): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">
<title>${xml(title)}</title>
<style>${STYLE}</style>
<rect width="100%" height="100%" fill="#fff"/>
${body.join('\n')}
</svg>
`;
}

/** Powers of ten, twice and five times them, within a range. */
function ticks(low: number, high: number): number[] {
  const values: number[] = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    for (const digit of [1, 2, 5]) values.push(digit * 10 ** power);
  }
  return values.filter((value) => value >= low && value <= high);
}

const SIDE = 460;
const LEFT = 64;
const TOP = 36;

/** Predicted against measured step times on logarithmic axes, with a band of 10 %. */
export function scatterPlot(steps: readonly PlotStep[], adapter: string): string {
  const title = `decoding steps on ${adapter}: predicted against measured, ms`;
  const values = steps.flatMap(({ measured, predicted }) => [measured, predicted]);
  const [low, high] = [Math.min(...values) / 1.3, Math.max(...values) * 1.3];
  const at = (value: number) => (Math.log(value / low) / Math.log(high / low)) * SIDE;
  const x = (value: number) => (LEFT + at(value)).toFixed(1);
  const y = (value: number) => (TOP + SIDE - at(value)).toFixed(1);
  const body = [`<text x="${LEFT}" y="20" class="head">${xml(title)}</text>`];
  for (const value of ticks(low, high)) {
    body.push(
      `<line x1="${x(value)}" y1="${TOP}" x2="${x(value)}" y2="${TOP + SIDE}" class="grid"/>`,
      `<line x1="${LEFT}" y1="${y(value)}" x2="${LEFT + SIDE}" y2="${y(value)}" class="grid"/>`,
      `<text x="${x(value)}" y="${TOP + SIDE + 16}" class="tick mid">${value}</text>`,
      `<text x="${LEFT - 6}" y="${Number(y(value)) + 4}" class="tick end">${value}</text>`,
    );
  }
  const [first, last] = [low * 1.1, high / 1.1];
  const corners = [
    [first, first * 1.1],
    [last, last * 1.1],
    [last, last * 0.9],
    [first, first * 0.9],
  ];
  body.push(
    `<polygon points="${corners.map(([a, b]) => `${x(a)},${y(b)}`).join(' ')}" class="band"/>`,
    `<line x1="${x(first)}" y1="${y(first)}" x2="${x(last)}" y2="${y(last)}" class="one"/>`,
    `<text x="${LEFT + SIDE / 2}" y="${TOP + SIDE + 34}" class="mid">measured, ms</text>`,
    `<text x="14" y="${TOP - 8}">predicted, ms</text>`,
  );
  const models = [...new Set(steps.map(({ model }) => model))];
  models.forEach((model, i) => {
    const colour = COLOURS[i % COLOURS.length];
    for (const step of steps) {
      if (step.model !== model) continue;
      const name = `${model}, batch ${step.batch}, context ${step.context}: ${step.measured.toPrecision(3)} measured, ${step.predicted.toPrecision(3)} predicted`;
      body.push(
        `<circle cx="${x(step.measured)}" cy="${y(step.predicted)}" r="3.5" fill="${colour}"><title>${xml(name)}</title></circle>`,
      );
    }
    const line = TOP + 14 + i * 18;
    body.push(
      `<circle cx="${LEFT + 14}" cy="${line - 4}" r="4" fill="${colour}"/>`,
      `<text x="${LEFT + 24}" y="${line}">${xml(model)}</text>`,
    );
  });
  body.push(`<text x="${LEFT}" y="${TOP + SIDE + 54}" class="tick">band: ±10 %</text>`);
  return svg(LEFT + SIDE + 20, TOP + SIDE + 66, title, body);
}

const NAMES = 250;
const BAR = 520;

/** Two bars for every step, measured above predicted, each as a share of the longer of the two. */
export function stackPlot(steps: readonly PlotStep[], adapter: string): string {
  const title = `where a step's time goes on ${adapter}: measured above, predicted below`;
  const body = [`<text x="8" y="20" class="head">${xml(title)}</text>`];
  PARTS.forEach(({ name, colour }, i) => {
    const [column, row] = [i % 4, Math.floor(i / 4)];
    body.push(
      `<rect x="${8 + column * 200}" y="${30 + row * 18}" width="12" height="12" fill="${colour}"/>`,
      `<text x="${25 + column * 200}" y="${41 + row * 18}">${name}</text>`,
    );
  });
  steps.forEach((step, i) => {
    const top = 76 + i * 30;
    const totals = [step.measuredParts, step.predictedParts].map((parts) => parts.reduce((a, b) => a + b, 0));
    const scale = BAR / Math.max(...totals);
    body.push(
      `<text x="${NAMES - 6}" y="${top + 15}" class="end">${xml(`${step.model}, batch ${step.batch}, ${step.context}`)}</text>`,
    );
    [step.measuredParts, step.predictedParts].forEach((parts, which) => {
      let left = NAMES;
      parts.forEach((ms, part) => {
        const width = ms * scale;
        if (width < 0.05) return;
        const at = top + which * 12;
        body.push(
          `<rect x="${left.toFixed(1)}" y="${at}" width="${width.toFixed(1)}" height="11" fill="${PARTS[part].colour}"/>`,
        );
        left += width;
      });
      const text = `${totals[which].toPrecision(3)} ms`;
      body.push(
        `<text x="${(left + 5).toFixed(1)}" y="${top + 10 + which * 12}" class="tick">${text}</text>`,
      );
    });
  });
  return svg(NAMES + BAR + 90, 86 + steps.length * 30, title, body);
}

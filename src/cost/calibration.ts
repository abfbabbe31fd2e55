/** What was measured of an adapter, as it is stored: the pure side, with its checks. */
import { ConfigError } from '../errors.ts';
import type { Law } from './law.ts';

/** Changes when files of an earlier version cannot be used any more. */
export const CALIBRATION_FORMAT = 9;

/** A measured figure: median, and the 10th and 90th percentile. */
export interface Spread {
  readonly median: number;
  readonly p10: number;
  readonly p90: number;
}

/** Bandwidth over a buffer of a size that is read or written again and again, in GB/s. */
export interface BandwidthPoint extends Spread {
  readonly bytes: number;
}

/**
 * Where a probe found what it needs: code and weights in memory; its code in a cache, as a layer's calls do that run the code
 * of the layer before; or the weights as well.
 */
export type Heat = 'cold' | 'warm' | 'cached';

/** One call at a probe shape. */
export interface ProbeRow {
  readonly kernel: string;
  readonly shape: string;
  readonly heat: Heat;
  readonly us: number;
  readonly p10: number;
  readonly p90: number;
  /** By the fitted law. */
  readonly predicted_us: number;
}

/** A law and what it was fitted on. */
export interface Family {
  readonly law: Law;
  /** Median and 90th percentile of |predicted / measured - 1| over the probes. */
  readonly error_median: number;
  readonly error_p90: number;
  readonly probes: readonly ProbeRow[];
}

/** An adapter, as far as its speed depends on it. */
export interface CalibratedAdapter {
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  /** Name and driver version. */
  readonly description: string;
  readonly bounds_checks: boolean;
  readonly subgroup: number;
}

/** The file. Field names are those of its JSON. */
export interface Calibration {
  readonly format: number;
  readonly adapter: CalibratedAdapter;
  /** UTC, in ISO 8601. */
  readonly date: string;
  readonly seconds: number;
  readonly clock: 'gpu' | 'wall';
  /** Smallest step of the clock that was seen, in nanoseconds. */
  readonly timer_ns: number;
  /** Ascending sizes. */
  readonly read: readonly BandwidthPoint[];
  readonly write: readonly BandwidthPoint[];
  readonly fma_tflops: Spread;
  readonly fma_f16_tflops: Spread | null;
  readonly matrix_tflops: Spread | null;
  /** Workgroups of 256 invocations that compute at full speed side by side. */
  readonly units: number;
  /** A dispatch of one workgroup: after one whose result it overwrites, after one that it has nothing to do with. */
  readonly dispatch_us: Spread;
  readonly independent_us: Spread;
  /** What a pass shows by its timestamps beyond its dispatches. */
  readonly pass_us: Spread;
  /** Submit and readback by the wall, and what passes between steps that follow each other. */
  readonly round_trip_us: Spread;
  readonly gap_us: Spread;
  /** Microseconds of the host to encode and submit a step: fixed, and per dispatch. */
  readonly host_step_us: Spread;
  readonly host_dispatch_us: Spread;
  readonly families: Readonly<Record<string, Family>>;
}

/**
 * Microseconds that a pass shows by its timestamps beyond its dispatches. Noise can make the measured difference negative;
 * then it is taken as nothing, since no pass makes its dispatches faster.
 */
export function passUs(calibration: Pick<Calibration, 'pass_us'>): number {
  return Math.max(0, calibration.pass_us.median);
}

/** Microseconds by which short probes scatter to either side (the median, of P10 and P90): those that take few dispatches' time. */
function scatterUs({ families, dispatch_us }: Pick<Calibration, 'families' | 'dispatch_us'>): number {
  const short = Object.values(families)
    .flatMap(({ probes }) => probes)
    .filter(({ us }) => us < SHORT_DISPATCHES * dispatch_us.median)
    .map(({ p10, p90 }) => (p90 - p10) / 2)
    .sort((a, b) => a - b);
  return short[short.length >> 1] ?? 0;
}

/** Dispatches that a short probe may take the time of. */
const SHORT_DISPATCHES = 10;

/** Share of a dispatch by which half of them may scatter without a word. */
const SCATTER = 0.5;

/** What of a calibration is noise: what is not used as measured, and what may make it wrong, in sentences for people. */
export function calibrationNotes(
  calibration: Pick<Calibration, 'pass_us' | 'gap_us' | 'dispatch_us' | 'families'>,
): string[] {
  const scatter = scatterUs(calibration);
  const noisy =
    scatter > SCATTER * calibration.dispatch_us.median
      ? [
          `short probes scatter by ${scatter.toPrecision(2)} us: predictions of short calls may be wrong by that, and all of them too long; calibrate again when the machine is quiet`,
        ]
      : [];
  const differences = [
    ['the time of a pass beside its calls', calibration.pass_us],
    ['the gap between steps', calibration.gap_us],
  ] as const;
  const nothing = differences
    .filter(([, { median }]) => median < 0)
    .map(
      ([what, { median }]) =>
        `${what} was measured as ${median.toPrecision(2)} us, which is noise: taken as 0`,
    );
  return [...nothing, ...noisy];
}

/** Bytes per microsecond at a size: between measured sizes along their logarithms, beyond them the nearest. */
export function bandwidthAt(points: readonly BandwidthPoint[], bytes: number): number {
  const at = Math.log(Math.max(1, bytes));
  const above = points.findIndex((point) => Math.log(point.bytes) >= at);
  if (above === 0) return points[0].median * 1e3;
  if (above < 0) return points[points.length - 1].median * 1e3;
  const [low, high] = [points[above - 1], points[above]];
  const share = (at - Math.log(low.bytes)) / (Math.log(high.bytes) - Math.log(low.bytes));
  return Math.exp(Math.log(low.median) + share * Math.log(high.median / low.median)) * 1e3;
}

/**
 * How much of a working set comes from memory rather than a cache, 0 to 1, by the bandwidth at its size. Smaller sizes than
 * the one that is read fastest are in a cache as well: what slows them is that they are small.
 */
export function missShare(points: readonly BandwidthPoint[], workingSet: number): number {
  const slowest = 1 / bandwidthAt(points, Number.POSITIVE_INFINITY);
  const best = points.reduce((a, b) => (b.median > a.median ? b : a));
  const fastest = 1 / (best.median * 1e3);
  // Caches that are hardly faster than memory do not show.
  if (slowest < fastest * 1.1) return 1;
  if (workingSet <= best.bytes) return 0;
  return Math.min(1, Math.max(0, (1 / bandwidthAt(points, workingSet) - fastest) / (slowest - fastest)));
}

type Fields = Readonly<Record<string, unknown>>;

/**
 * Reads a calibration.
 *
 * @throws ConfigError naming the field that is missing, of another type or out of range, and the file.
 */
export function parseCalibration(value: unknown, file?: string): Calibration {
  const reader = new Reader(file);
  const root = reader.object('calibration', value);
  if (root.format !== CALIBRATION_FORMAT) {
    throw new ConfigError(
      'format',
      `${CALIBRATION_FORMAT} (make a new one: step3 calibrate)`,
      root.format,
      file,
    );
  }
  const adapter = reader.object('adapter', root.adapter);
  for (const name of ['vendor', 'architecture', 'device', 'description']) {
    reader.text(`adapter.${name}`, adapter[name]);
  }
  if (typeof adapter.bounds_checks !== 'boolean') {
    throw new ConfigError('adapter.bounds_checks', 'true or false', adapter.bounds_checks, file);
  }
  reader.number('adapter.subgroup', adapter.subgroup, 1);
  reader.text('date', root.date);
  if (root.clock !== 'gpu' && root.clock !== 'wall') {
    throw new ConfigError('clock', "'gpu' or 'wall'", root.clock, file);
  }
  for (const name of ['seconds', 'timer_ns']) reader.number(name, root[name], 0);
  reader.number('units', root.units, 1);
  for (const name of ['read', 'write']) reader.curve(name, root[name]);
  reader.rate('fma_tflops', root.fma_tflops);
  for (const name of ['fma_f16_tflops', 'matrix_tflops']) {
    if (root[name] !== null) reader.rate(name, root[name]);
  }
  for (const name of SPREADS) reader.spread(name, root[name], 0);
  for (const name of DIFFERENCES) reader.spread(name, root[name], Number.NEGATIVE_INFINITY);
  const families = reader.object('families', root.families);
  for (const [name, family] of Object.entries(families)) reader.family(`families.${name}`, family);
  return value as Calibration;
}

const SPREADS = ['dispatch_us', 'independent_us', 'round_trip_us', 'host_step_us', 'host_dispatch_us'];

/** Differences between two times, which noise can make negative. */
const DIFFERENCES = ['pass_us', 'gap_us'];

/** Least values of a law's parameters. */
const LAW: Readonly<Record<keyof Law, number>> = {
  launch: 0,
  launchWarm: 0,
  launchCached: 0,
  bandwidth: 1e-9,
  arithmetic: 1e-9,
  workgroup: 0,
  iteration: 0,
  iterationCached: 0,
};

/** Checks fields, naming them. */
class Reader {
  readonly #file: string | undefined;

  constructor(file: string | undefined) {
    this.#file = file;
  }

  object(name: string, value: unknown): Fields {
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Fields;
    throw new ConfigError(name, 'an object', value, this.#file);
  }

  text(name: string, value: unknown): void {
    if (typeof value !== 'string') throw new ConfigError(name, 'a string', value, this.#file);
  }

  number(name: string, value: unknown, least: number): void {
    if (typeof value === 'number' && Number.isFinite(value) && value >= least) return;
    throw new ConfigError(name, `a number of at least ${least}`, value, this.#file);
  }

  list(name: string, value: unknown): readonly unknown[] {
    if (Array.isArray(value) && value.length > 0) return value;
    throw new ConfigError(name, 'a list that is not empty', value, this.#file);
  }

  spread(name: string, value: unknown, least: number): void {
    const fields = this.object(name, value);
    for (const part of ['median', 'p10', 'p90']) this.number(`${name}.${part}`, fields[part], least);
  }

  rate(name: string, value: unknown): void {
    this.spread(name, value, Number.MIN_VALUE);
  }

  curve(name: string, value: unknown): void {
    let before = 0;
    for (const [i, point] of this.list(name, value).entries()) {
      this.rate(`${name}[${i}]`, point);
      const { bytes } = point as BandwidthPoint;
      this.number(`${name}[${i}].bytes`, bytes, before + 1);
      before = bytes;
    }
  }

  family(name: string, value: unknown): void {
    const fields = this.object(name, value);
    const law = this.object(`${name}.law`, fields.law);
    for (const [part, least] of Object.entries(LAW)) this.number(`${name}.law.${part}`, law[part], least);
    for (const part of ['error_median', 'error_p90']) this.number(`${name}.${part}`, fields[part], 0);
    this.list(`${name}.probes`, fields.probes);
  }
}

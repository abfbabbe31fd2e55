/** Which kernels are timed at which shapes. */
import { InputError } from '../errors.ts';
import { KERNELS } from '../kernels/index.ts';
import type { AnyKernel, Capabilities, Variant } from '../kernels/kernel.ts';
import type { LinearParams } from '../kernels/linear.ts';
import { isPlain } from '../tensor.ts';
import type { ConvertTarget } from '../weights/convert_plan.ts';
import { isLinear, plannedLayers } from './layers.ts';

/** Presets whose widths the sets of shapes stand for. */
const MODELS = { real: 'step3', small: 'step3-mini' } as const;

/** One kernel at one shape. */
export interface BenchCase {
  readonly kernel: AnyKernel;
  readonly variant: Variant;
  readonly shape: string;
  readonly params: unknown;
}

/** What to time. */
export interface CaseOptions {
  /** Part of a kernel's or a shape's name, in any case; all when absent. */
  readonly filter?: string | undefined;
  readonly shapes: 'real' | 'small' | 'all';
  /** Only linear layers, of this preset, or with weights as they are after this conversion. */
  readonly preset?: string | undefined;
  readonly format?: ConvertTarget | undefined;
  /** Tokens of the linear layers. */
  readonly batches: readonly number[];
  /** Also the variants, and the shapes of linear kernels, that plans do not use. */
  readonly variants: boolean;
}

/**
 * The cases in the order of the kernels: linear layers as plans run them at each batch, everything else, layers of
 * compressed weights too, at its benchmark shapes. Kernels that the adapter cannot run are left out.
 *
 * @throws InputError listing the kernels when nothing matches the filter; ConfigError when there is no such preset;
 *   KernelError for batches that the adapter has no room for.
 */
export function benchCases(caps: Capabilities, options: CaseOptions): BenchCase[] {
  const sets = options.shapes === 'all' ? (['real', 'small'] as const) : [options.shapes];
  const { preset, format } = options;
  const models = preset === undefined ? sets.map((set) => MODELS[set]) : [preset];
  const planned = models.flatMap((model) =>
    options.batches.flatMap((batch) => plannedLayers(caps, model, batch, format)),
  );
  const onlyPlanned = preset !== undefined || format !== undefined;
  const cases = KERNELS.flatMap((kernel) => {
    const available = kernel.variants.filter((variant) => variant.available(caps));
    const used = options.variants ? available : available.slice(0, 1);
    const layers = planned.filter(({ call }) => call.kernel === kernel);
    const own = kernel.shapes.bench.filter(
      ({ params, set = 'real' }) =>
        !onlyPlanned && sets.some((wanted) => wanted === set) && (options.variants || !isPlanned(params)),
    );
    const shapes = [...layers.map(({ name, call }) => ({ name, params: call.params })), ...own];
    return shapes.flatMap(({ name, params }) =>
      used.map((variant) => ({ kernel, variant, shape: name, params })),
    );
  });
  const wanted = options.filter?.toLowerCase() ?? '';
  const matching = cases.filter(({ kernel, shape }) =>
    `${kernel.name} ${shape}`.toLowerCase().includes(wanted),
  );
  if (matching.length === 0) {
    const names = KERNELS.map((kernel) => kernel.name).join(', ');
    throw new InputError('filter', `part of a kernel or shape name (kernels: ${names})`, options.filter);
  }
  return matching;
}

/** Whether plans of the presets bring such a layer on any adapter: their weights are not compressed, nor split their columns. */
function isPlanned(params: unknown): boolean {
  const { format, splitK } = params as LinearParams;
  return isLinear(params) && isPlain(format) && splitK === undefined;
}

/** Tokens at which linear layers are timed unless others are asked for. */
export const DEFAULT_BATCHES: readonly number[] = [1, 4, 16, 64, 256];

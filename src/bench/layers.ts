/** Linear layers as plans run them: which kernel, parameters and variant a layer gets at a batch is not decided here. */
import { preset } from '../config/index.ts';
import type { Capabilities } from '../kernels/kernel.ts';
import { PAGE } from '../kernels/paged.ts';
import type { KernelCall } from '../model/plan.ts';
import { planDecode } from '../model/plans.ts';
import { weightLayout } from '../weights/layout.ts';
import { cutLayers } from './synthetic_model.ts';

/** A call of a decoding step, named after what it computes. */
export interface PlannedLayer {
  readonly name: string;
  readonly call: KernelCall;
}

/** Presets whose widths the sets of shapes stand for, cut after their first mixture of experts. */
const MODELS = { real: 'step3', small: 'step3-mini' } as const;

/**
 * The linear layers of one dense layer, one mixture of experts and the head, for `batch` sequences. Of a layer whose
 * weights are spread over several buffers, the first.
 *
 * @throws KernelError when the adapter has no room for such a batch.
 */
export function plannedLayers(caps: Capabilities, set: 'real' | 'small', batch: number): PlannedLayer[] {
  const whole = preset(MODELS[set]);
  const moe = whole.moe_layers[0];
  const config = cutLayers(whole, moe + 1);
  const layout = weightLayout(config, () => ({ format: config.torch_dtype ?? 'bf16' }), caps.maxBindingBytes);
  const cache = { sequences: batch, maxContext: PAGE, pages: batch, kv: 'f16' } as const;
  const plan = planDecode(config, { layout, cache, caps, deterministic: false }, batch, PAGE);
  const found = new Map<string, PlannedLayer>();
  for (const call of plan.calls) {
    if (!isLinear(call.params) || !(call.layer === undefined || call.layer === 0 || call.layer === moe))
      continue;
    const what = call.label.replace(/^layers\.\d+\./, '');
    const name = `${what} ${shapeText(call.params as LinearLike)}, batch ${batch}`;
    const key = `${call.kernel.name} ${what}`;
    if (!found.has(key)) found.set(key, { name, call });
  }
  return [...found.values()];
}

/** What the parameters of all kernels over shards of weights have. */
interface LinearLike {
  readonly N: number;
  readonly K: number;
  readonly shard: { readonly expertCount: number; readonly rowCount: number };
}

/** Whether parameters are those of a linear layer, which plans give to one kernel or another. */
export function isLinear(params: unknown): boolean {
  const { N, K, shard } = params as Partial<LinearLike>;
  return N !== undefined && K !== undefined && shard !== undefined;
}

function shapeText({ N, K, shard }: LinearLike): string {
  const experts = shard.expertCount > 1 ? `${shard.expertCount} x ` : '';
  const rows = shard.rowCount < N ? `${shard.rowCount} of ` : '';
  return `${experts}${rows}${N}x${K}`;
}

/** Linear layers as plans run them: which kernel, parameters and variant a layer gets at a batch is not decided here. */
import { preset } from '../config/index.ts';
import type { Capabilities } from '../kernels/kernel.ts';
import { PAGE } from '../kernels/paged.ts';
import { cacheShape } from '../model/cache.ts';
import type { KernelCall } from '../model/plan.ts';
import { planDecode } from '../model/plans.ts';
import type { ConvertTarget } from '../weights/convert_plan.ts';
import { weightLayout } from '../weights/layout.ts';
import { cutLayers, formatsOf } from './synthetic_model.ts';

/** A call of a decoding step, named after what it computes. */
export interface PlannedLayer {
  readonly name: string;
  readonly call: KernelCall;
}

/**
 * The linear layers of one dense layer, one mixture of experts and the head of a preset, for `batch` sequences. `format`: with
 * weights as they are after a conversion. Of a layer whose weights are spread over several buffers, the first.
 *
 * @throws ConfigError when there is no such preset; KernelError when the adapter has no room for such a batch.
 */
export function plannedLayers(
  caps: Capabilities,
  model: string,
  batch: number,
  format?: ConvertTarget,
): PlannedLayer[] {
  const whole = preset(model);
  const moe = whole.moe_layers[0];
  const config = cutLayers(whole, moe + 1);
  const layout = weightLayout(config, formatsOf(config, format), caps.maxBindingBytes);
  const cache = cacheShape(config, 0, { sequences: batch, maxContext: PAGE, kv: 'f16', together: 1 });
  const plan = planDecode(config, { layout, cache, caps, deterministic: false }, batch, PAGE);
  const found = new Map<string, PlannedLayer>();
  for (const call of plan.calls) {
    if (!isLinear(call.params) || !(call.layer === undefined || call.layer === 0 || call.layer === moe))
      continue;
    const what = call.label.replace(/^layers\.\d+\./, '');
    const linear = call.params as LinearLike;
    const name = `${what} ${shapeText(linear)}, batch ${batch}${format === undefined ? '' : `, ${linear.format}`}`;
    const key = `${call.kernel.name} ${what} ${linear.N}x${linear.K}`;
    if (!found.has(key)) found.set(key, { name, call });
  }
  return [...found.values()];
}

/** What the parameters of all kernels over shards of weights have. */
interface LinearLike {
  readonly format: string;
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

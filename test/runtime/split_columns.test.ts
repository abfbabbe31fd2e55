/** Plans whose products have their columns split, from end to end: on the CPU, where matrix units are only claimed. */
import { expect, it } from 'vitest';
import { PRESETS } from '../../src/config/index.ts';
import type { Capabilities } from '../../src/kernels/kernel.ts';
import { cacheShape } from '../../src/model/cache.ts';
import { planPrefill } from '../../src/model/plans.ts';
import { CpuExecutor } from '../../src/runtime/cpu_executor.ts';
import { loadWeights } from '../../src/runtime/load.ts';
import { Model } from '../../src/runtime/model.ts';
import { checkpointFormats, weightLayout } from '../../src/weights/layout.ts';
import { syntheticCheckpoint } from '../../src/weights/synthetic.ts';

/** Rows so long that a last round of workgroups would take longer than a call more. */
const CONFIG = {
  ...PRESETS['step3-tiny'],
  hidden_size: 4096,
  num_hidden_layers: 2,
  moe_layers: [1],
  vocab_size: 300,
};
const TOKENS = Array.from({ length: 24 }, (_, i) => (i * 37 + 11) % CONFIG.vocab_size);

async function run(matrixUnits: boolean): Promise<{ logits: Float32Array; kernels: string[] }> {
  const executor = new CpuExecutor();
  const caps: Capabilities = {
    ...executor.caps,
    subgroups: true,
    subgroupMinSize: 32,
    subgroupMaxSize: 32,
    matrixUnits,
  };
  const checkpoint = syntheticCheckpoint(CONFIG, 5);
  const layout = weightLayout(CONFIG, checkpointFormats(checkpoint), caps.maxBindingBytes);
  const size = { sequences: 1, maxContext: TOKENS.length, kv: 'f32', together: TOKENS.length } as const;
  const planning = { layout, cache: cacheShape(CONFIG, 0, size), caps, deterministic: false };
  await loadWeights(executor, checkpoint, layout);
  const parts = { config: CONFIG, tokenizer: undefined, executor, planning, chunk: TOKENS.length };
  const model = new Model(parts);
  const [logits] = await model.logits([TOKENS]);
  model.dispose();
  const { calls } = planPrefill(CONFIG, planning, TOKENS.length, TOKENS.length, { kind: 'all' });
  return { logits, kernels: calls.map(({ kernel }) => kernel.name) };
}

it('gives the logits that whole columns give', async () => {
  const [split, whole] = [await run(true), await run(false)];
  expect(split.kernels.filter((name) => name === 'matmul_join').length).toBeGreaterThanOrEqual(4);
  expect(whole.kernels).not.toContain('matmul_join');
  const largest = Math.max(...whole.logits.map(Math.abs));
  expect(largest).toBeGreaterThan(0.5);
  const apart = split.logits.map((value, i) => Math.abs(value - whole.logits[i]));
  expect(Math.max(...apart)).toBeLessThan(0.01 * largest); // activations are rounded to binary16
});

/** What plans do differently on matrix units, from end to end: on the CPU, where these are only claimed. */
import { expect, it } from 'vitest';
import { type ModelConfig, PRESETS } from '../../src/config/index.ts';
import type { Capabilities } from '../../src/kernels/kernel.ts';
import type { KvFormat } from '../../src/kernels/paged.ts';
import { cacheShape } from '../../src/model/cache.ts';
import { planDecode, planPrefill } from '../../src/model/plans.ts';
import { CpuExecutor } from '../../src/runtime/cpu_executor.ts';
import { loadWeights } from '../../src/runtime/load.ts';
import { Model } from '../../src/runtime/model.ts';
import { checkpointFormats, weightLayout } from '../../src/weights/layout.ts';
import { syntheticCheckpoint } from '../../src/weights/synthetic.ts';
import { collect } from '../generated.ts';

interface Case {
  readonly config: ModelConfig;
  readonly tokens: number;
  readonly kv: KvFormat;
}

/** Rows so long that a last round of workgroups would take longer than a call more. */
const LONG_ROWS: Case = {
  config: {
    ...PRESETS['step3-tiny'],
    hidden_size: 4096,
    num_hidden_layers: 2,
    moe_layers: [1],
    vocab_size: 300,
  },
  tokens: 24,
  kv: 'f32',
};

/** Heads that fill a matrix or half of it, over a whole context and over a window. */
const WIDE_HEADS: Case = {
  config: {
    ...PRESETS['step35-tiny'],
    num_attention_heads: 32,
    num_attention_groups: 2,
    head_dim: 64,
    attention_other_setting: { num_attention_heads: 16, num_attention_groups: 2, head_dim: 64 },
    sliding_window: 70,
  },
  tokens: 150,
  kv: 'f16',
};

/** A model on the CPU, with matrix units claimed or not, and what its plans are made with. */
async function load({ config, tokens, kv }: Case, matrixUnits: boolean) {
  const executor = new CpuExecutor();
  const caps: Capabilities = {
    ...executor.caps,
    subgroups: true,
    subgroupMinSize: 32,
    subgroupMaxSize: 32,
    matrixUnits,
    maxStorageBuffers: 16,
  };
  const checkpoint = syntheticCheckpoint(config, 5);
  const layout = weightLayout(config, checkpointFormats(checkpoint), caps.maxBindingBytes);
  const size = { sequences: 1, maxContext: tokens, kv, together: tokens } as const;
  const planning = { layout, cache: cacheShape(config, 0, size), caps, deterministic: false };
  await loadWeights(executor, checkpoint, layout);
  return { planning, model: new Model({ config, tokenizer: undefined, executor, planning, chunk: tokens }) };
}

async function run(test: Case, matrixUnits: boolean): Promise<{ logits: Float32Array; kernels: string[] }> {
  const { config, tokens } = test;
  const { planning, model } = await load(test, matrixUnits);
  const [logits] = await model.logits([
    Array.from({ length: tokens }, (_, i) => (i * 37 + 11) % config.vocab_size),
  ]);
  model.dispose();
  const { calls } = planPrefill(config, planning, tokens, tokens, { kind: 'all' });
  return { logits, kernels: calls.map(({ kernel }) => kernel.name) };
}

it.each([
  { what: 'columns that are split', test: LONG_ROWS, kernel: 'matmul_join', least: 4 },
  { what: 'neighbours that share keys and values', test: WIDE_HEADS, kernel: 'mfa_prefill', least: 5 },
  { what: 'attention in slices of tiles', test: { ...WIDE_HEADS, tokens: 9 }, kernel: 'mfa_tile', least: 5 },
])('$what give the same logits', async ({ test, kernel, least }) => {
  const [matrix, plain] = [await run(test, true), await run(test, false)];
  expect(matrix.kernels.filter((name) => name === kernel).length).toBeGreaterThanOrEqual(least);
  expect(plain.kernels).not.toContain(kernel);
  const largest = Math.max(...plain.logits.map(Math.abs));
  expect(largest).toBeGreaterThan(0.5);
  const apart = matrix.logits.map((value, i) => Math.abs(value - plain.logits[i]));
  expect(Math.max(...apart)).toBeLessThan(0.01 * largest); // activations are rounded to binary16
});

it.each(['f16', 'fp8'] as const)(
  'heads that attention takes fresh give the same tokens, before and after a window is full, %s',
  async (kv) => {
    const said: number[][] = [];
    for (const units of [true, false]) {
      const { planning, model } = await load({ ...WIDE_HEADS, kv }, units);
      const { calls } = planDecode(WIDE_HEADS.config, planning, 1, 128);
      for (const name of kv === 'fp8' ? ['qk_norm_rope', 'kv_pack'] : ['qk_norm_rope'])
        expect(calls.some(({ kernel }) => kernel.name === name)).toBe(!units);
      const { tokens } = await collect(model, [[5, 9, 2]], { maxTokens: 90, stopTokens: [] });
      said.push(tokens[0]);
      model.dispose();
    }
    expect(new Set(said[0]).size).toBeGreaterThan(10);
    expect(said[0]).toEqual(said[1]);
  },
);

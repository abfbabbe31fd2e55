import { describe, expect, it } from 'vitest';
import type { Step3Config } from '../../src/config/index.ts';
import { preset } from '../../src/config/index.ts';
import { loadModel } from '../../src/runtime/load_model.ts';
import type { PlainFormat } from '../../src/tensor.ts';
import { syntheticCheckpoint } from '../../src/weights/synthetic.ts';
import { gpu } from '../harness.ts';

/** Configurations whose widths are no multiples of anything, and other corners of the architecture. */
const CASES: { name: string; format: PlainFormat; config: Partial<Step3Config> }[] = [
  {
    name: 'odd widths, three heads of six',
    format: 'f32',
    config: {
      hidden_size: 70,
      share_q_dim: 13,
      num_attention_heads: 3,
      head_dim: 6,
      intermediate_size: 27,
      moe_intermediate_size: 11,
      share_expert_dim: 9,
      vocab_size: 259,
    },
  },
  {
    name: 'f16 weights, head_dim 10, renormalised experts',
    format: 'f16',
    config: { head_dim: 10, norm_expert_weight: true },
  },
  {
    name: 'dense only, head_dim 12',
    format: 'bf16',
    config: { moe_layers: [], num_hidden_layers: 2, head_dim: 12 },
  },
  {
    name: 'experts in every layer, one chosen',
    format: 'bf16',
    config: { moe_layers: [0, 1], num_hidden_layers: 2, moe_top_k: 1 },
  },
  { name: 'every expert chosen', format: 'bf16', config: { moe_top_k: 8, moe_num_experts: 8 } },
];

describe.skipIf(gpu === undefined)('GPU equals the CPU interpreter on unusual shapes', () => {
  for (const { name, format, config } of CASES) {
    it(name, async () => {
      const full = { ...preset('step3-tiny'), ...config };
      const tokens = Array.from({ length: 75 }, (_, i) => (i * 31) % 256);
      const results: Float32Array[] = [];
      for (const device of ['cpu', 'gpu'] as const) {
        const model = await loadModel(syntheticCheckpoint(full, 3, format), {
          device,
          kv: 'f32',
          matrixUnits: false,
          maxContext: 128,
          selfTest: false,
          adapter: process.env.STEP3_ADAPTER,
        });
        results.push((await model.logits([tokens], { mode: 'chunked', chunk: 70 }))[0]);
        if (device === 'gpu')
          results.push((await model.logits([tokens.slice(0, 12)], { mode: 'decode' }))[0]);
        model.dispose();
      }
      const [cpu, gpuPrefill, gpuDecode] = results;
      const far = (a: Float32Array) => a.reduce((most, v, i) => Math.max(most, Math.abs(v - cpu[i])), 0);
      expect(far(gpuPrefill)).toBeLessThanOrEqual(1e-3);
      expect(far(gpuDecode)).toBeLessThanOrEqual(1e-3);
    });
  }
});

import { describe, expect, it } from 'vitest';
import { loadModel } from '../../src/runtime/load_model.ts';
import { readGolden, worst } from '../golden.ts';
import { gpu } from '../harness.ts';

/** The published reference logits, made by other people's code (see test/fixtures/README.md). */
const MODELS = [
  { name: 'step3-tiny' },
  { name: 'step3-small-bf16' },
  // Limits of activations on the wrong side of silu would move these logits by 6e-3 only.
  { name: 'step35-tiny', f32Limit: 1e-4 },
] as const;
const MODES = [
  { mode: 'prefill' },
  { mode: 'decode' },
  { mode: 'chunked', chunk: 7 },
  { mode: 'chunked', chunk: 16 },
] as const;

const DEVICES = [
  { name: 'gpu', device: 'gpu', kv: 'f32', limit: 1e-3, matrixUnits: false },
  { name: 'gpu, f16 cache', device: 'gpu', kv: 'f16', limit: 2e-2, matrixUnits: false },
  { name: 'gpu, matrix units', device: 'gpu', kv: 'f32', limit: 2e-2, matrixUnits: true },
  { name: 'gpu, base kernels', device: 'gpu', kv: 'f32', limit: 1e-3, baseline: true },
  {
    name: 'gpu, weights cut into 64 KiB buffers',
    device: 'gpu',
    kv: 'f32',
    limit: 1e-3,
    matrixUnits: false,
    maxBindingBytes: 65536,
    chunk: 16,
  },
  { name: 'cpu', device: 'cpu', kv: 'f32', limit: 1e-3 },
] as const;

for (const golden of MODELS) {
  const { name } = golden;
  describe(`golden logits of ${name}`, () => {
    for (const { name: label, limit: common, ...device } of DEVICES) {
      const limit = common === 1e-3 && 'f32Limit' in golden ? golden.f32Limit : common;
      const needsUnits = 'matrixUnits' in device && device.matrixUnits;
      const runnable =
        device.device === 'cpu' || (gpu !== undefined && (!needsUnits || gpu.caps.matrixUnits));
      it.skipIf(!runnable)(
        `${label}: max |difference| <= ${limit} and the same argmax in every mode`,
        async () => {
          const want = await readGolden(name);
          const model = await loadModel(want.source, {
            ...device,
            selfTest: false,
            maxContext: 128,
            adapter: process.env.STEP3_ADAPTER,
          });
          try {
            for (const options of MODES) {
              const [got] = await model.logits([want.tokens], options);
              const { difference, argmaxDiffers } = worst(want, got);
              expect(difference, JSON.stringify(options)).toBeLessThanOrEqual(limit);
              expect(argmaxDiffers, JSON.stringify(options)).toBe(0);
            }
          } finally {
            model.dispose();
          }
        },
      );
    }
  });
}

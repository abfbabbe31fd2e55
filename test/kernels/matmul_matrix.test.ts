import { describe, expect, it } from 'vitest';
import { randomRows } from '../../src/formats/random.ts';
import { dense } from '../../src/kernels/linear.ts';
import { matmul_matrix } from '../../src/kernels/matmul_matrix.ts';
import {
  compare,
  decodeValues,
  encodeBinding,
  expected,
  makeCase,
  seededRandom,
} from '../../src/kernels/verify.ts';
import { PipelineCache } from '../../src/runtime/pipelines.ts';
import { runKernel } from '../../src/runtime/run_kernel.ts';
import { emulatedPipelines, testEmulated } from '../emulated.ts';
import { emulatedText, stagedBytes } from '../emulated_units.ts';
import { gpu, testKernel } from '../harness.ts';

testKernel(matmul_matrix);
testEmulated(matmul_matrix, emulatedText, stagedBytes);

describe.skipIf(gpu?.caps.shaderF16 !== true)('matmul_matrix', () => {
  it('subgroups of three products along tokens, as tiles of 96 have, in a workgroup that fits anywhere', async () => {
    const params = dense(70, 72, 100, { tile: 48 });
    const small = { TM: 3, TN: 1, SG_M: 1, SG_N: 2, SG_K: 1, DEPTH: 32, AHEAD: 1 };
    const kernel: typeof matmul_matrix = {
      ...matmul_matrix,
      check: () => {},
      constants: (p) => ({ ...matmul_matrix.constants(p), ...small }),
      workgroups: () => [3, 3, 1],
    };
    const input = makeCase(kernel, params, 1);
    const [variant] = kernel.variants;
    const got = await runKernel(
      gpu!,
      emulatedPipelines(gpu!.device, emulatedText),
      kernel,
      params,
      variant,
      input.bytes,
    );
    expect(compare(kernel, params, variant, input, expected(kernel, params, input), got)).toBeUndefined();
  });

  it('weights beyond the range of binary16 become its largest', async () => {
    // Products with unit vectors are the weights themselves.
    const params = dense(9, 32, 32, { tile: 16, format: 'q8_0' });
    const { w, x } = matmul_matrix.bindings(params);
    const input = makeCase(matmul_matrix, params, 1);
    input.bytes.w = randomRows(params, 32, 9, 2 ** 18, seededRandom(2));
    const weights = decodeValues(w, input.bytes.w) as Float64Array;
    const beyond = weights.filter((v) => Math.abs(v) > 65504).length;
    expect(beyond).toBeGreaterThan(50);
    expect(beyond).toBeLessThan(weights.length);
    input.values.w = weights.map((v) => Math.max(-65504, Math.min(v, 65504)));
    input.values.x = Float64Array.from({ length: 32 * 32 }, (_, i) => (i % 33 === 0 ? 1 : 0));
    input.bytes.x = encodeBinding(x, input.values.x);
    const want = expected(matmul_matrix, params, input);
    const [variant] = matmul_matrix.variants;
    const pipelines = emulatedPipelines(gpu!.device, emulatedText);
    const all = gpu!.caps.matrixUnits ? [pipelines, new PipelineCache(gpu!.device)] : [pipelines];
    for (const some of all) {
      const got = await runKernel(gpu!, some, matmul_matrix, params, variant, input.bytes);
      expect(compare(matmul_matrix, params, variant, input, want, got)).toBeUndefined();
    }
  });
});

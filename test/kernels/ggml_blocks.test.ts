/** Kernels decode rows of ggml's block types to the numbers that ggml itself makes of them. */
import { describe, expect, it } from 'vitest';
import { blockFormat } from '../../src/formats/index.ts';
import { embed_tokens } from '../../src/kernels/embed_tokens.ts';
import { dense } from '../../src/kernels/linear.ts';
import { MATMUL_TILE, matmul } from '../../src/kernels/matmul.ts';
import { matvec } from '../../src/kernels/matvec.ts';
import { PipelineCache } from '../../src/runtime/pipelines.ts';
import { runKernel } from '../../src/runtime/run_kernel.ts';
import { padRow, type WeightFormat } from '../../src/tensor.ts';
import { type GgmlRows, ggmlRows } from '../formats/ggml_rows.ts';
import { gpu } from '../harness.ts';

/** Whether weights are `scale * level + shift`, of which a compiler may make one operation that rounds once. */
function isShifted(format: WeightFormat): boolean {
  const affine = { scale: 0, shift: 0 };
  blockFormat(format)?.affine(new Uint8Array(32).fill(0x35), 0, affine);
  return affine.shift !== 0;
}

/**
 * What f32 allows: the same numbers, but for the sign of a zero, which WGSL leaves open. Of shifted formats the product may
 * go unrounded; it is at most about twice as large as the largest weight of the 32 around.
 */
function firstWrong({ format, values }: GgmlRows, got: Float32Array): string | undefined {
  const slack = isShifted(format) ? 2 ** -22 : 0;
  for (let begin = 0; begin < values.length; begin += 32) {
    const want = values.subarray(begin, begin + 32);
    const largest = want.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
    for (const [i, value] of want.entries()) {
      const have = got[begin + i];
      if (!(Math.abs(have - value) <= slack * largest))
        return `[${begin + i}]: expected ${value}, got ${have}`;
    }
  }
  return undefined;
}

const bytesOf = (values: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>) =>
  new Uint8Array(values.buffer);

describe.skipIf(gpu === undefined).each(await ggmlRows())('$format', (golden) => {
  const { format, rows, cols, packed } = golden;
  const pipelines = gpu === undefined ? undefined : new PipelineCache(gpu.device);

  it('embed_tokens', async () => {
    const p = { format, tokens: rows, K: cols, rowBegin: 0, rowCount: rows };
    const token_ids = bytesOf(Uint32Array.from({ length: rows }, (_, r) => r));
    const h = bytesOf(new Float32Array(rows * cols).fill(Number.NaN));
    const inputs = { w: packed, token_ids, h };
    const out = await runKernel(gpu!, pipelines!, embed_tokens, p, embed_tokens.variants[0], inputs);
    expect(firstWrong(golden, new Float32Array(out.h.buffer))).toBeUndefined();
  });

  const linear = [matvec, matmul].flatMap((kernel) =>
    kernel.variants
      .filter(({ available }) => gpu !== undefined && available(gpu.caps))
      .map((variant) => ({ kernel, variant })),
  );
  it.each(linear)('$kernel.name, $variant.name: products with unit vectors', async ({ kernel, variant }) => {
    const p = dense(rows, cols, cols, { format, tile: kernel === matmul ? MATMUL_TILE : 1 });
    const x = new Float32Array(cols * cols);
    for (let c = 0; c < cols; c++) x[c * cols + c] = 1;
    const stride = padRow(rows);
    const y = bytesOf(new Float32Array(cols * stride).fill(Number.NaN));
    const out = await runKernel(gpu!, pipelines!, kernel, p, variant, { w: packed, x: bytesOf(x), y });
    const columns = new Float32Array(out.y.buffer);
    const got = golden.values.map((_, i) => columns[(i % cols) * stride + Math.floor(i / cols)]);
    expect(firstWrong(golden, got)).toBeUndefined();
  });
});

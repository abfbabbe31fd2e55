import { expect, it } from 'vitest';
import { kv_pack } from '../../src/kernels/kv_pack.ts';
import { encodeValues } from '../../src/kernels/verify.ts';
import { PipelineCache } from '../../src/runtime/pipelines.ts';
import { runKernel } from '../../src/runtime/run_kernel.ts';
import { numberToE4m3 } from '../../src/weights/encode/fp8.ts';
import { gpu, testKernel } from '../harness.ts';

testKernel(kv_pack);

/** Every magnitude of e4m3, halfway between neighbours, and a little to either side. */
function magnitudes(): number[] {
  const numbers = Array.from({ length: 0x7f }, (_, byte) =>
    byte < 8 ? byte * 2 ** -9 : (1 + (byte & 7) / 8) * 2 ** ((byte >> 3) - 7),
  );
  return numbers.flatMap((value, i) => {
    const half = (value + (numbers[i + 1] ?? value)) / 2;
    return [
      value,
      half,
      Math.fround(half * (1 - 2 ** -22)),
      Math.min(448, Math.fround(half * (1 + 2 ** -22))),
    ];
  });
}

it.skipIf(gpu === undefined)('rounds to nearest, ties to even, in rows whose scale is exact', async () => {
  if (gpu === undefined) return;
  const D = 512;
  const p = { tokens: 4, kvHeads: 1, D, pages: 1 };
  const values = magnitudes();
  // Scales of 1, a power of two up and down; the last row is zero.
  const scales = [1, 2 ** 20, 2 ** -20];
  const keys = new Float64Array(4 * D);
  scales.forEach((scale, t) => {
    values.forEach((value, i) => {
      keys[t * D + i] = value * scale * (i % 3 === 0 ? -1 : 1);
    });
  });
  const cache = new Uint8Array(64 * (D + 4)).fill(0xaa);
  const got = await runKernel(gpu, new PipelineCache(gpu.device), kv_pack, p, kv_pack.variants[0], {
    cache_rows: encodeValues('u32', Uint32Array.of(63, 0, 7, 1)),
    k_rows: encodeValues('f32', keys),
    v_rows: encodeValues(
      'f32',
      keys.map((value) => -value),
    ),
    k_cache: cache,
    v_cache: cache,
  });
  for (const [t, row] of [63, 0, 7, 1].entries()) {
    const scale = scales[t] ?? 1;
    for (const [name, sign] of [
      ['k_cache', 1],
      ['v_cache', -1],
    ] as const) {
      const want = Uint8Array.from(keys.subarray(t * D, (t + 1) * D), (key) =>
        numberToE4m3((sign * key) / scale),
      );
      expect(got[name].subarray(row * D, (row + 1) * D)).toEqual(want);
      expect(new DataView(got[name].buffer).getFloat32(64 * D + row * 4, true)).toBe(scale);
    }
  }
  // Other rows and their scales stay as they were.
  expect(got.k_cache.subarray(2 * D, 7 * D).every((byte) => byte === 0xaa)).toBe(true);
  expect(got.v_cache.subarray(64 * D + 8, 64 * D + 28).every((byte) => byte === 0xaa)).toBe(true);
});

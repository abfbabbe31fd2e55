import { describe, expect, it } from 'vitest';
import { moe_route } from '../../src/kernels/moe_route.ts';
import { compare, encodeBinding, expected, makeCase } from '../../src/kernels/verify.ts';
import { PipelineCache } from '../../src/runtime/pipelines.ts';
import { runKernel } from '../../src/runtime/run_kernel.ts';
import { gpu, testKernel } from '../harness.ts';

testKernel(moe_route);

describe.skipIf(gpu === undefined)('moe_route', () => {
  it.each([
    [12, 5],
    [48, 3],
    [288, 8],
    [301, 40],
  ])('of equal logits the first come first: %i experts', async (experts, topK) => {
    const params = { tokens: 30, experts, topK, renormalise: false };
    const input = makeCase(moe_route, params, 7);
    const { router_logits } = moe_route.bindings(params);
    // A token's logits have few values, or one.
    const stride = router_logits.dims[1];
    input.values.router_logits = (input.values.router_logits as Float64Array).map(
      (v, i) => Math.round(v * (Math.floor(i / stride) % 10)) / 4,
    );
    input.bytes.router_logits = encodeBinding(router_logits, input.values.router_logits);
    const [variant] = moe_route.variants;
    const got = await runKernel(
      gpu!,
      new PipelineCache(gpu!.device),
      moe_route,
      params,
      variant,
      input.bytes,
    );
    expect(
      compare(moe_route, params, variant, input, expected(moe_route, params, input), got),
    ).toBeUndefined();
  });
});

import type { Shape, Variant } from '../../src/kernels/kernel.ts';
import { type ExpertsDownParams, moe_down } from '../../src/kernels/moe_down.ts';
import { hasBytes } from '../../src/kernels/weights.ts';
import { testKernel } from '../harness.ts';

testKernel(moe_down);

/** Variants for large subgroups, which no CPU adapter has, at the shapes that they are for, where their texts run. */
function testLarge(
  names: readonly string[],
  fits: (shape: Shape<ExpertsDownParams>) => boolean,
  available: Variant['available'],
): void {
  testKernel({
    ...moe_down,
    shapes: { ...moe_down.shapes, test: moe_down.shapes.test.filter(fits) },
    variants: moe_down.variants
      .filter(({ name }) => names.includes(name))
      .map((variant) => ({ ...variant, available })),
  });
}

testLarge(
  ['subgroup'],
  ({ params }) => params.format === 'iq4_nl',
  (caps) => caps.subgroups,
);
const packed: Variant['available'] = (caps) => caps.subgroups && caps.packedDots === true;
testLarge(['subgroup-bytes'], ({ params }) => hasBytes(params.format), packed);
// Which differs in a constant.
testLarge(
  ['subgroup-rounded'],
  ({ name, params }) => hasBytes(params.format) && /buffers/.test(name),
  packed,
);

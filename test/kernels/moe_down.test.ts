import { moe_down } from '../../src/kernels/moe_down.ts';
import { testKernel } from '../harness.ts';

testKernel(moe_down);

// Large subgroups, which no CPU adapter has, find the levels of some formats elsewhere.
testKernel({
  ...moe_down,
  shapes: {
    ...moe_down.shapes,
    test: moe_down.shapes.test.filter(({ params }) => params.format === 'iq4_nl'),
  },
  variants: moe_down.variants
    .filter(({ name }) => name === 'subgroup')
    .map((variant) => ({ ...variant, available: (caps) => caps.subgroups })),
});

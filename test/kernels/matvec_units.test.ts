import { matvec_units } from '../../src/kernels/matvec_units.ts';
import { testKernel } from '../harness.ts';

testKernel(matvec_units);

// Variants that no CPU adapter runs differ in constants alone, of which all but the size of subgroups can be tried there.
testKernel({
  ...matvec_units,
  variants: matvec_units.variants
    .filter(({ name }) => name === 'subgroup-32-rounded')
    .map((variant) => ({
      ...variant,
      constants: { ...variant.constants, PART_LEAST: 4 },
      available: (caps) => caps.subgroups && caps.packedDots === true,
    })),
});

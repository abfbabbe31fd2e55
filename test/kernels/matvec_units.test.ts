import { matvec_units } from '../../src/kernels/matvec_units.ts';
import { testKernel } from '../harness.ts';

testKernel(matvec_units);

import { mfa_combine } from '../../src/kernels/mfa_combine.ts';
import { testKernel } from '../harness.ts';

testKernel(mfa_combine);

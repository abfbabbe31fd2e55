import { mfa_quad } from '../../src/kernels/mfa_quad.ts';
import { testKernel } from '../harness.ts';

testKernel(mfa_quad);

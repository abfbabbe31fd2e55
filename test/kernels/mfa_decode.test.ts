import { mfa_decode } from '../../src/kernels/mfa_decode.ts';
import { testKernel } from '../harness.ts';

testKernel(mfa_decode);

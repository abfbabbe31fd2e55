import { mfa_prefill } from '../../src/kernels/mfa_prefill.ts';
import { testEmulated } from '../emulated.ts';
import { emulatedPrefill, prefillBytes } from '../emulated_prefill.ts';
import { testKernel } from '../harness.ts';

testKernel(mfa_prefill);
testEmulated(mfa_prefill, emulatedPrefill, prefillBytes);

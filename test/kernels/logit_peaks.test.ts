import { logit_peaks } from '../../src/kernels/logit_peaks.ts';
import { testKernel } from '../harness.ts';

testKernel(logit_peaks);

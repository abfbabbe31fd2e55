import { probe_fma_f16 } from '../../src/kernels/probe_fma_f16.ts';
import { testKernel } from '../harness.ts';

testKernel(probe_fma_f16);

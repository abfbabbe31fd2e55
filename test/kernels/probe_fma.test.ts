import { probe_fma } from '../../src/kernels/probe_fma.ts';
import { testKernel } from '../harness.ts';

testKernel(probe_fma);

import { probe_copy } from '../../src/kernels/probe_copy.ts';
import { testKernel } from '../harness.ts';

testKernel(probe_copy);

import { probe_write } from '../../src/kernels/probe_write.ts';
import { testKernel } from '../harness.ts';

testKernel(probe_write);

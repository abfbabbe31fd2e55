import { probe_read } from '../../src/kernels/probe_read.ts';
import { testKernel } from '../harness.ts';

testKernel(probe_read);

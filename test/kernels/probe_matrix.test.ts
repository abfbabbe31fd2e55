import { probe_matrix } from '../../src/kernels/probe_matrix.ts';
import { testKernel } from '../harness.ts';

testKernel(probe_matrix);

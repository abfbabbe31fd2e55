import { half_rows } from '../../src/kernels/half_rows.ts';
import { testKernel } from '../harness.ts';

testKernel(half_rows);

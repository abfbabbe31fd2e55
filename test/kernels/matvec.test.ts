import { matvec } from '../../src/kernels/matvec.ts';
import { testKernel } from '../harness.ts';

testKernel(matvec);

import { rope_turns } from '../../src/kernels/rope_turns.ts';
import { testKernel } from '../harness.ts';

testKernel(rope_turns);

import { rope_cache } from '../../src/kernels/rope_cache.ts';
import { testKernel } from '../harness.ts';

testKernel(rope_cache);

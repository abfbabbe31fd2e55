import { embed_tokens } from '../../src/kernels/embed_tokens.ts';
import { testKernel } from '../harness.ts';

testKernel(embed_tokens);

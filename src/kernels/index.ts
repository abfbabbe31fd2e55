/** Every kernel. Tests, benchmarks, the self-test and the documentation iterate this list. */
import { embed_tokens } from './embed_tokens.ts';
import type { AnyKernel } from './kernel.ts';
import { matmul } from './matmul.ts';
import { matvec } from './matvec.ts';
import { mfa_combine } from './mfa_combine.ts';
import { mfa_decode } from './mfa_decode.ts';
import { moe_combine } from './moe_combine.ts';
import { moe_group } from './moe_group.ts';
import { moe_router } from './moe_router.ts';
import { rmsnorm } from './rmsnorm.ts';
import { rope_cache } from './rope_cache.ts';
import { sample } from './sample.ts';

export const KERNELS: readonly AnyKernel[] = [
  embed_tokens,
  rmsnorm,
  matvec,
  matmul,
  rope_cache,
  mfa_decode,
  mfa_combine,
  moe_router,
  moe_group,
  moe_combine,
  sample,
];

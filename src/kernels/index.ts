/** Every kernel. Tests, benchmarks, the self-test and the documentation iterate this list. */
import { embed_tokens } from './embed_tokens.ts';
import { half_rows } from './half_rows.ts';
import type { AnyKernel } from './kernel.ts';
import { kv_pack } from './kv_pack.ts';
import { logit_peaks } from './logit_peaks.ts';
import { matmul } from './matmul.ts';
import { matmul_join } from './matmul_join.ts';
import { matmul_matrix } from './matmul_matrix.ts';
import { matvec } from './matvec.ts';
import { matvec_rows } from './matvec_rows.ts';
import { matvec_units } from './matvec_units.ts';
import { mfa_combine } from './mfa_combine.ts';
import { mfa_decode } from './mfa_decode.ts';
import { mfa_matrix } from './mfa_matrix.ts';
import { mfa_prefill } from './mfa_prefill.ts';
import { mfa_quad } from './mfa_quad.ts';
import { mfa_tile } from './mfa_tile.ts';
import { moe_combine } from './moe_combine.ts';
import { moe_down } from './moe_down.ts';
import { moe_group } from './moe_group.ts';
import { moe_route } from './moe_route.ts';
import { probe_copy } from './probe_copy.ts';
import { probe_fma } from './probe_fma.ts';
import { probe_fma_f16 } from './probe_fma_f16.ts';
import { probe_matrix } from './probe_matrix.ts';
import { probe_read } from './probe_read.ts';
import { probe_write } from './probe_write.ts';
import { qk_norm_rope } from './qk_norm_rope.ts';
import { rmsnorm } from './rmsnorm.ts';
import { rope_cache } from './rope_cache.ts';
import { rope_turns } from './rope_turns.ts';
import { sample } from './sample.ts';

export const KERNELS: readonly AnyKernel[] = [
  embed_tokens,
  rmsnorm,
  half_rows,
  matvec,
  matvec_rows,
  matvec_units,
  matmul,
  matmul_matrix,
  matmul_join,
  rope_turns,
  rope_cache,
  qk_norm_rope,
  kv_pack,
  mfa_quad,
  mfa_tile,
  mfa_decode,
  mfa_matrix,
  mfa_prefill,
  mfa_combine,
  moe_down,
  moe_route,
  moe_group,
  moe_combine,
  logit_peaks,
  sample,
];

/** What an adapter can do at best, as kernels: no part of a model, measured beside the others. */
export const PROBES: readonly AnyKernel[] = [
  probe_read,
  probe_write,
  probe_copy,
  probe_fma,
  probe_fma_f16,
  probe_matrix,
];

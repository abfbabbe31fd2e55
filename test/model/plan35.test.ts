import { describe, expect, it } from 'vitest';
import { preset } from '../../src/config/index.ts';
import { half_rows } from '../../src/kernels/half_rows.ts';
import { BASELINE } from '../../src/kernels/kernel.ts';
import { cacheShape } from '../../src/model/cache.ts';
import { planDraft } from '../../src/model/draft.ts';
import type { Plan } from '../../src/model/plan.ts';
import { type PlanOptions, planDecode, planPrefill } from '../../src/model/plans.ts';
import { padRow } from '../../src/tensor.ts';
import { weightLayout } from '../../src/weights/layout.ts';

const FLASH = preset('step35-flash');
const TINY = preset('step35-tiny');

function options(
  config: typeof FLASH,
  context: number,
  extra: { maxBindingBytes?: number; sequences?: number; deterministic?: boolean } = {},
): PlanOptions {
  const { maxBindingBytes = BASELINE.maxBindingBytes, sequences = 1, deterministic = false } = extra;
  return {
    layout: weightLayout(config, () => ({ format: 'bf16' }), maxBindingBytes, 3),
    cache: cacheShape(config, 3, { sequences, maxContext: context, kv: 'f16', together: 64 }),
    caps: { ...BASELINE, maxBindingBytes },
    deterministic,
  };
}

const labels = (plan: Plan, layer: number) =>
  plan.calls.filter((c) => c.layer === layer).map((c) => c.label.replace(`layers.${layer}.`, ''));

/** maxStorageBuffersPerShaderStage of any WebGPU device. */
const DEFAULT_STORAGE_BUFFERS = 8;

describe('plans of Step-3.5-Flash', () => {
  it('a decode step, layer by layer: at most 9 dispatches a layer', () => {
    const o = options(FLASH, 32768, { maxBindingBytes: 2 ** 33 });
    const plan = planDecode(FLASH, o, 1, 32768);
    expect(labels(plan, 0)).toEqual([
      'qkv_proj',
      'rope',
      'mfa_decode',
      'mfa_combine',
      'o_proj',
      'mlp.gate_up_proj',
      'mlp.down_proj',
    ]);
    for (let layer = 3; layer < 45; layer++) {
      expect(labels(plan, layer)).toEqual([
        'qkv_proj',
        'rope',
        'mfa_decode',
        'mfa_combine',
        'o_proj',
        'moe.gate',
        'moe.gate_up_proj',
        // The last two bound the activations of the shared expert otherwise than those of the others.
        ...(layer < 43 ? [] : ['share_expert.gate_up_proj']),
        'moe.down_proj',
      ]);
    }
    // Embedding with the angles of one kind of layers, those of the other, head, peaks of the logits, sampling.
    expect(plan.calls.filter((c) => c.layer === undefined).length).toBe(5);
    for (const call of plan.calls)
      expect(Object.keys(call.slots).length, call.label).toBeLessThanOrEqual(DEFAULT_STORAGE_BUFFERS);
  });

  it('prepares both kinds of layers, and heads within attention, where kernels may bind enough and units compute', () => {
    const o = options(FLASH, 4096, { maxBindingBytes: 2 ** 33 });
    const units = { subgroups: true, subgroupMinSize: 32, subgroupMaxSize: 32, matrixUnits: true };
    const caps = { ...o.caps, ...units, maxStorageBuffers: 16 };
    const plan = planDecode(FLASH, { ...o, caps }, 1, 4096);
    expect(labels(plan, 0).slice(0, 4)).toEqual(['qkv_proj', 'mfa_decode', 'mfa_combine', 'o_proj']);
    expect(plan.calls.filter((c) => c.layer === undefined).length).toBe(4);
    // Up to 256 positions in one call; drafts see each other's keys, so that these have to be in the cache.
    expect(labels(planDecode(FLASH, { ...o, caps }, 1, 256), 1).slice(0, 3)).toEqual([
      'qkv_proj',
      'mfa_decode',
      'o_proj',
    ]);
    const verified = planPrefill(FLASH, { ...o, caps }, 3, 4096, { kind: 'greedy' });
    expect(labels(verified, 0).slice(0, 3)).toEqual(['qkv_proj', 'rope', 'mfa_decode']);
    const fp8 = { ...o, caps, cache: { ...o.cache, kv: 'fp8' as const } };
    expect(labels(planDecode(FLASH, fp8, 1, 4096), 0)).toEqual(labels(plan, 0));
    const f32 = { ...o, caps, cache: { ...o.cache, kv: 'f32' as const } };
    expect(labels(planDecode(FLASH, f32, 1, 4096), 0)[1]).toBe('rope');
    const fewer = { ...o, caps: { ...caps, maxStorageBuffers: 9 } };
    expect(labels(planDecode(FLASH, fewer, 1, 4096), 0)[1]).toBe('rope');
  });

  it('what only matrix units read is made as binary16, and converted where a norm comes before it', () => {
    const units = { subgroups: true, subgroupMinSize: 32, subgroupMaxSize: 32, matrixUnits: true };
    const o = options(FLASH, 4096, { maxBindingBytes: 2 ** 33 });
    const wide = { ...o, caps: { ...o.caps, ...units, maxStorageBuffers: 16 } };
    for (const tokens of [48, 1024]) {
      const { calls, slots } = planPrefill(FLASH, wide, tokens, 4096, { kind: 'picked', rows: 1 });
      const converted = calls.filter(({ kernel }) => kernel === half_rows);
      expect(converted.every(({ slots: { gamma } }) => gamma !== undefined)).toBe(true);
      // For q/k/v, and for the gate and up projections of experts, which leave it to the shared expert.
      expect(converted.length).toBe(2 * FLASH.num_hidden_layers);
      for (const name of ['attn_half', 'ffn_act_half', 'expert_act_half'])
        expect(slots.get(name)?.type, name).toBe('f16');
    }
    // Layers of one token read f32.
    const { slots } = planDecode(FLASH, wide, 1, 4096);
    expect([...slots.keys()].filter((name) => name.endsWith('_half'))).toEqual([]);
  });

  it('the released model plans at default limits, every weight in one shard', () => {
    const o = options(FLASH, 65536);
    const plans = [
      planDecode(FLASH, o, 1, 65536),
      planPrefill(FLASH, o, 64, 65536, { kind: 'picked', rows: 1 }),
      planPrefill(FLASH, o, 4, 65536, { kind: 'greedy' }),
      ...[0, 1, 2].map((block) => planDraft(FLASH, o, block, 4, 65536, 1)),
    ];
    for (const plan of plans) {
      for (const slot of plan.slots.values())
        expect(slot.bytes, slot.name).toBeLessThanOrEqual(BASELINE.maxBindingBytes);
    }
    let elements = 0;
    for (const m of o.layout.matrices.values()) {
      for (const s of m.shards) elements += s.expertCount * s.rowCount * padRow(m.cols);
    }
    for (const v of o.layout.vectors.values()) elements += v.length;
    expect(elements / 1e9).toBeCloseTo(196.96 + 3 * 0.809, 1);
  });

  it('sliding layers keep their window and a chunk, full layers the context', () => {
    const o = options(FLASH, 65536);
    const { slots } = planDecode(FLASH, o, 1, 65536);
    const position = 8 * 128 * 2; // elements of all KV heads, in f16
    expect(slots.get('layers.0.k_cache')?.bytes).toBe(65536 * position);
    // 511 positions before the first of 64 new ones: 9 pages.
    expect(slots.get('layers.1.k_cache')?.bytes).toBe(9 * 64 * position);
    expect(slots.get('page_table')?.bytes).toBe(1024 * 4);
    expect(slots.get('ring_table')?.bytes).toBe(9 * 4);
    const cache = [...slots.values()].filter((slot) => slot.purpose === 'cache');
    const bytes = cache.reduce((sum, slot) => sum + slot.bytes, 0);
    expect(bytes).toBe(2 * position * (12 * 65536 + 33 * 9 * 64));
  });

  it('attention of sliding layers costs its window only', () => {
    const o = options(FLASH, 65536, { maxBindingBytes: 2 ** 33 });
    const plan = planDecode(FLASH, o, 1, 65536);
    const cost = (layer: number) => {
      const call = plan.calls.find((c) => c.layer === layer && c.label.endsWith('.mfa_decode'));
      return call?.kernel.cost(call.params);
    };
    expect(cost(0)?.flops).toBe(4 * 64 * 128 * 65536);
    expect(cost(1)?.flops).toBe(4 * 96 * 128 * 512);
    expect(cost(0)?.bytesRead).toBe(65536 * 8 * 128 * 2 * 2 + 64 * 128 * 4);
    expect(cost(1)?.bytesRead).toBe(512 * 8 * 128 * 2 * 2 + 96 * 128 * 4);
  });

  it('deterministic plans use the same kernels and tiles whatever the number of tokens', () => {
    const o = options(TINY, 1024, { sequences: 4, deterministic: true });
    const signature = (plan: Plan) =>
      plan.calls
        .filter((c) => c.label !== 'sample')
        .map((c) => `${c.label} ${c.kernel.name} ${JSON.stringify(c.kernel.constants(c.params))}`);
    const one = signature(planPrefill(TINY, o, 1, 256, { kind: 'all' }));
    expect(signature(planPrefill(TINY, o, 64, 256, { kind: 'all' }))).toEqual(one);
    expect(signature(planDecode(TINY, o, 4, 256))).toEqual(one);
  });

  it('a drafting block is one layer between a projection and a head', () => {
    const o = options(FLASH, 4096, { maxBindingBytes: 2 ** 33 });
    expect(labels(planDraft(FLASH, o, 1, 4, 4096, 1), 46)).toEqual([
      'embed_tokens',
      'enorm',
      'hnorm',
      'eh_proj',
      'qkv_proj',
      'rope',
      'mfa_decode',
      'mfa_combine',
      'o_proj',
      'mlp.gate_up_proj (norm)',
      'mlp.gate_up_proj',
      'mlp.down_proj',
      'shared_head.output',
      'greedy.peaks',
      'greedy',
    ]);
  });
});

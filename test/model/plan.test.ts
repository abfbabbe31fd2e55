import { describe, expect, it } from 'vitest';
import { layerFacts, type ModelConfig, PRESETS, preset } from '../../src/config/index.ts';
import { KernelError } from '../../src/errors.ts';
import { BASELINE, type Capabilities } from '../../src/kernels/kernel.ts';
import { dense, type LinearParams } from '../../src/kernels/linear.ts';
import { fitsRows } from '../../src/kernels/matvec_rows.ts';
import { cacheShape } from '../../src/model/cache.ts';
import type { Plan } from '../../src/model/plan.ts';
import { type LogitRows, type PlanOptions, planDecode, planPrefill } from '../../src/model/plans.ts';
import { PLAIN_BYTES, padRow, type WeightFormat } from '../../src/tensor.ts';
import { weightLayout } from '../../src/weights/layout.ts';

function options(
  name: string,
  extra: Partial<PlanOptions> = {},
  maxBindingBytes = BASELINE.maxBindingBytes,
): PlanOptions {
  return {
    layout: weightLayout(preset(name), () => ({ format: 'bf16' }), maxBindingBytes),
    cache: { sequences: 4, maxContext: 1024, pages: 64, kv: 'f16' },
    caps: { ...BASELINE, maxBindingBytes },
    deterministic: false,
    ...extra,
  };
}

/** maxStorageBuffersPerShaderStage of any WebGPU device. */
const DEFAULT_STORAGE_BUFFERS = 8;

const names = (plan: Plan, layer: number) =>
  plan.calls.filter((c) => c.layer === layer).map((c) => `${c.role} ${c.label}`);

describe('plans', () => {
  it('read large matrices of 16 bits side by side for up to four tokens, on subgroups of GPUs', () => {
    const GPU = { subgroups: true, subgroupMinSize: 32, subgroupMaxSize: 32, maxBindingBytes: 2 ** 31 };
    const kernels = (
      name: string,
      batch: number,
      caps: Partial<Capabilities>,
      format: WeightFormat = 'bf16',
      deterministic = false,
    ) => {
      const limits = { ...BASELINE, maxWorkgroups: 65535, ...caps };
      const layout = weightLayout(preset(name), () => ({ format }), limits.maxBindingBytes);
      const { calls } = planDecode(
        preset(name),
        options(name, { layout, caps: limits, deterministic }),
        batch,
        256,
      );
      return (label: string) => calls.find((c) => c.label === label)?.kernel.name;
    };
    const large = ['qkv_proj', 'wq', 'o_proj', 'mlp.gate_up_proj', 'mlp.down_proj'].map(
      (m) => `layers.0.${m}`,
    );
    const step3 = kernels('step3', 1, GPU);
    expect([...large, 'lm_head'].map(step3)).toEqual(Array(6).fill('matvec_rows'));
    expect(step3('layers.4.moe.gate')).toBe('matvec');
    expect(step3('layers.4.moe.gate_up_proj')).toBe('matvec');
    expect([...large, 'lm_head'].map(kernels('step3', 2, GPU))).toEqual(Array(6).fill('matvec_rows'));
    // Four tokens whose columns take several turns are not normalised in each of them: large layers have a call for it.
    const four = [3, 4].map((batch) => kernels('step3', batch, GPU));
    for (const kernel of four) {
      expect(large.map(kernel)).toEqual(['matvec', ...Array(4).fill('matvec_rows')]);
      expect(kernel('layers.0.mlp.gate_up_proj (norm)')).toBe('rmsnorm');
      expect(kernel('layers.0.wq (norm)')).toBeUndefined();
    }
    const normed = { norm: 'rms', tile: 4 } as const;
    expect([4096, 7168].map((K) => fitsRows(dense(10304, K, 4, normed)))).toEqual([true, false]);
    expect(fitsRows(dense(10304, 4096, 5, normed))).toBe(false);
    expect(large.map(kernels('step3', 4, GPU, 'bf16', true))).toEqual(Array(5).fill('matvec'));
    expect(large.map(kernels('step3', 1, { maxBindingBytes: 2 ** 31 }))).toEqual(Array(5).fill('matvec'));
    expect(large.map(kernels('step3', 1, GPU, 'f32'))).toEqual(Array(5).fill('matvec'));
    expect(kernels('step3-mini', 1, GPU)('lm_head')).toBe('matvec');
    // Those of Step-3.5-Flash are faster without.
    expect([4096, 8192, 11264].map((K) => fitsRows(dense(36864, K, 1)))).toEqual([false, false, false]);
  });

  it('a decode step of a small model, layer by layer', () => {
    const plan = planDecode(preset('step3-tiny'), options('step3-tiny'), 1, 256);
    expect(names(plan, 0)).toEqual([
      'attention layers.0.qkv_proj',
      'attention layers.0.wq',
      'attention layers.0.mfa_decode',
      'attention layers.0.o_proj',
      'ffn layers.0.mlp.gate_up_proj',
      'ffn layers.0.mlp.down_proj',
    ]);
    expect(names(plan, preset('step3-tiny').moe_layers[0]).slice(4)).toEqual([
      'attention layers.1.moe.gate',
      'ffn layers.1.moe.gate_up_proj',
      'ffn layers.1.moe.down_proj',
    ]);
    expect(plan.calls[0].label).toBe('embed_tokens');
    expect(plan.calls.at(-1)?.label).toBe('sample');
  });

  it('attends to short contexts whole, slices longer ones, and reads K and V once for many heads of many tokens', () => {
    const config = { ...PRESETS.step3, num_hidden_layers: 1, moe_layers: [] };
    const core = (tokens: number, context: number, caps: Partial<Capabilities> = {}) => {
      const plan = planDecode(
        config,
        {
          layout: weightLayout(config, () => ({ format: 'bf16' }), 2 ** 33),
          cache: { sequences: 64, maxContext: 65536, pages: 65536, kv: 'f16' },
          caps: { ...BASELINE, maxBindingBytes: 2 ** 33, ...caps },
          deterministic: false,
        },
        tokens,
        context,
      );
      return plan.calls
        .filter((c) => c.kernel.name.startsWith('mfa_'))
        .map((c) => `${c.kernel.name} ${(c.params as { splits: number }).splits}`);
    };
    expect(core(1, 128)).toEqual(['mfa_quad 1']);
    expect(core(1, 256)).toEqual(['mfa_quad 4', 'mfa_combine 4']);
    expect(core(1, 4096)).toEqual(['mfa_quad 8', 'mfa_combine 8']);
    expect(core(64, 4096)).toEqual(['mfa_decode 8', 'mfa_combine 8']);
    const matrix = { subgroups: true, subgroupMinSize: 32, subgroupMaxSize: 32, matrixUnits: true };
    expect(core(1, 128, matrix)).toEqual(['mfa_quad 1']);
    expect(core(1, 256, matrix)).toEqual(['mfa_tile 4', 'mfa_combine 4']);
    expect(core(3, 128, matrix)).toEqual(['mfa_tile 2', 'mfa_combine 2']);
    expect(core(1, 4096, matrix)).toEqual(['mfa_tile 32', 'mfa_combine 32']);
    expect(core(1, 8192, matrix)).toEqual(['mfa_matrix 128', 'mfa_combine 128']);
    // As many slices as occupy the GPU, whatever the context; more of those that would be long.
    expect(core(64, 4096, matrix)).toEqual(['mfa_matrix 2', 'mfa_combine 2']);
    expect(core(64, 65536, matrix)).toEqual(['mfa_matrix 8', 'mfa_combine 8']);
  });

  it('lets the tokens of a prompt share keys and values where there are matrix units', () => {
    const core = (name: keyof typeof PRESETS, tokens: number, context: number, rows: LogitRows) => {
      const config = { ...PRESETS[name], num_hidden_layers: 2, moe_layers: [] } as ModelConfig;
      const cache = { sequences: 1, maxContext: 65536, kv: 'f16', together: 2048 } as const;
      const plan = planPrefill(
        config,
        {
          layout: weightLayout(config, () => ({ format: 'bf16' }), 2 ** 33),
          cache: cacheShape(config, 0, cache),
          caps: {
            ...BASELINE,
            ...{ subgroups: true, subgroupMinSize: 32, subgroupMaxSize: 32, matrixUnits: true },
            ...{ maxBindingBytes: 2 ** 33, maxWorkgroups: 65535 },
          },
          deterministic: false,
        },
        tokens,
        context,
        rows,
      );
      return plan.calls
        .filter((c) => c.kernel.name.startsWith('mfa_'))
        .map((c) => `${c.kernel.name} ${(c.params as { splits: number }).splits}`);
    };
    // Whole where tokens occupy the GPU; in slices of long contexts, or for few tokens. The window of the second layer is short.
    expect(core('step35-flash', 2048, 4096, { kind: 'none' })).toEqual(['mfa_prefill 1', 'mfa_prefill 1']);
    expect(core('step3', 1024, 4096, { kind: 'none' })).toEqual(['mfa_prefill 1', 'mfa_prefill 1']);
    expect(core('step3', 16, 4096, { kind: 'none' })[0]).toMatch(/^mfa_prefill \d+$/);
    // Too few tokens to share, and drafts that are verified.
    expect(core('step35-flash', 3, 256, { kind: 'none' })[0]).toMatch(/^mfa_tile/);
    expect(core('step35-flash', 64, 4096, { kind: 'greedy' })[0]).toMatch(/^mfa_tile/);
  });

  it('looks for the peaks of large vocabularies before it samples', () => {
    const end = (vocab_size: number, logits: LogitRows) => {
      const config = { ...preset('step3-tiny'), vocab_size };
      const layout = weightLayout(config, () => ({ format: 'bf16' }), BASELINE.maxBindingBytes);
      const plan = planPrefill(config, options('step3-tiny', { layout }), 3, 256, logits);
      return plan.calls
        .slice(plan.calls.findIndex((c) => c.slots.y === 'logits') + 1)
        .map(({ kernel, label, slots }) => `${label}: ${kernel.name} ${slots.seen} ${slots.peaks}`);
    };
    const picked = { kind: 'picked', rows: 2 } as const;
    expect(end(4096, picked)).toEqual(['sample: sample seen_tokens undefined']);
    expect(end(16_383, picked)).toEqual(['sample: sample seen_tokens undefined']);
    expect(end(16_384, picked)).toEqual([
      'sample.peaks: logit_peaks seen_tokens logit_peaks',
      'sample: sample seen_tokens logit_peaks',
    ]);
    expect(end(128_815, { kind: 'greedy' })).toEqual([
      'greedy.peaks: logit_peaks greedy_seen logit_peaks',
      'greedy: sample greedy_seen logit_peaks',
    ]);
  });

  it('groups the experts of many tokens', () => {
    const cache = { sequences: 8, maxContext: 1024, pages: 64, kv: 'f16' } as const;
    const plan = planDecode(preset('step3-small'), options('step3-small', { cache }), 8, 256);
    expect(names(plan, 1).slice(5)).toEqual([
      'attention layers.1.moe.gate',
      'ffn layers.1.moe.route',
      'ffn layers.1.moe.group',
      'ffn layers.1.moe.gate_up_proj',
      'ffn layers.1.moe.down_proj',
      'ffn layers.1.share_expert.gate_up_proj',
      'ffn layers.1.share_expert.down_proj',
      'attention layers.1.moe.combine',
    ]);
  });

  it.each([
    { model: 'step3-mini', batch: 1, dense: 7, moe: 8 },
    { model: 'step3-mini', batch: 4, dense: 7, moe: 8 },
    // At full width norms of large layers are calls of their own from 3 tokens on, and all of them above 16.
    { model: 'step3', batch: 1, dense: 7, moe: 8 },
    { model: 'step3', batch: 4, dense: 8, moe: 10 },
    { model: 'step3', batch: 8, dense: 8, moe: 15 },
    { model: 'step3', batch: 64, dense: 10, moe: 17 },
  ] as const)(
    'at most $dense dispatches for a dense layer and $moe for experts, $model, batch $batch',
    ({ model, batch, dense, moe }) => {
      // Every matrix of a layer in one buffer.
      const config = { ...PRESETS[model], num_hidden_layers: 5 };
      const limit = 2 ** 33;
      const plan = planDecode(
        config,
        {
          layout: weightLayout(config, () => ({ format: 'bf16' }), limit),
          cache: { sequences: 64, maxContext: 1024, pages: 1024, kv: 'f16' },
          caps: { ...BASELINE, maxBindingBytes: limit },
          deterministic: false,
        },
        batch,
        1024,
      );
      expect(names(plan, 0).length).toBeLessThanOrEqual(dense);
      expect(names(plan, 4).length).toBeLessThanOrEqual(moe);
      for (const call of plan.calls)
        expect(Object.keys(call.slots).length, call.label).toBeLessThanOrEqual(DEFAULT_STORAGE_BUFFERS);
    },
  );

  it('computes the shared expert with those that one token chose, where one call can bind them', () => {
    const config = preset('step3-mini'); // 48 experts of 1280 x 896, 110 MB in all
    const gateUps = (
      batch: number,
      maxBindingBytes = 2 ** 30,
      shared: WeightFormat = 'bf16',
      changes = {},
      maxStorageBuffers = BASELINE.maxStorageBuffers,
    ) => {
      const changed = { ...config, ...changes };
      const format = (tensor: string) =>
        ({ format: tensor.includes('share_expert') ? shared : 'bf16' }) as const;
      const layout = weightLayout(changed, format, maxBindingBytes);
      const caps = { ...BASELINE, maxBindingBytes, maxStorageBuffers };
      const cache = { sequences: 64, maxContext: 1024, pages: 64, kv: 'f16' } as const;
      return planDecode(changed, { layout, cache, caps, deterministic: false }, batch, 256)
        .calls.filter(({ layer, label }) => layer === 4 && label.endsWith('gate_up_proj'))
        .map(({ label, params, slots }) => {
          const { buffers = [], tokens } = params as LinearParams;
          return [label.slice('layers.4.'.length), tokens, ...buffers, slots.w1 ?? ''].join(' ');
        });
    };
    const apart = ['moe.gate_up_proj 3 ', 'share_expert.gate_up_proj 1 '];
    expect(gateUps(1)).toEqual(['moe.gate_up_proj 4 48 1 layers.4.share_expert.gate_up_proj#0']);
    expect(gateUps(4)).toEqual(['moe.gate_up_proj 16 48 1 layers.4.share_expert.gate_up_proj#0']);
    // 24 in each of two buffers, 16 in each of three; 10, 10, 10, 10 and 8 would leave the shared one no number of its own.
    const expert = 1280 * 896 * 2;
    expect(gateUps(1, 24 * expert)[0]).toMatch(/^moe.gate_up_proj 4 24 24 1 /);
    expect(gateUps(1, 20 * expert)[0]).toMatch(/^moe.gate_up_proj 4 16 16 16 1 /);
    // Four and the shared one are more than an adapter needs to allow.
    expect(gateUps(1, 12 * expert)).toEqual([
      expect.stringMatching(/^moe.gate_up_proj 3 12 12 12 12 /),
      apart[1],
    ]);
    expect(gateUps(1, 12 * expert, 'bf16', {}, 9)[0]).toMatch(/^moe.gate_up_proj 4 12 12 12 12 1 /);
    expect(gateUps(1, 11 * expert, 'bf16', {}, 12)).toEqual([
      expect.stringMatching(/^moe.gate_up_proj 3 10 10 10 10 8 /),
      apart[1],
    ]);
    expect(gateUps(1, 2 ** 30, 'f32')).toEqual(apart);
    expect(gateUps(1, 2 ** 30, 'bf16', { share_expert_dim: 648 })).toHaveLength(1);
    expect(gateUps(4, 2 ** 30, 'bf16', { share_expert_dim: 2336 })).toHaveLength(1);
    expect(gateUps(4, 2 ** 30, 'bf16', { share_expert_dim: 2344 })).toHaveLength(2);
  });

  it('keys and values of an fp8 cache pass through kv_pack, one call more per layer', () => {
    for (const name of ['step3', 'step35-flash'] as const) {
      const whole = PRESETS[name];
      const plans = (['f16', 'fp8'] as const).map((kv) => {
        const ring = { pagesEach: 9, pages: 36, window: 512 };
        const cache = { sequences: 4, maxContext: 1024, pages: 64, ring, kv };
        const layout = weightLayout(whole, () => ({ format: 'bf16' }), 2 ** 33);
        const caps = { ...BASELINE, maxBindingBytes: 2 ** 33 };
        return planDecode(whole, { layout, cache, caps, deterministic: false }, 4, 1024);
      });
      const [f16, fp8] = plans;
      expect(f16.calls.some((c) => c.kernel.name === 'kv_pack')).toBe(false);
      expect(fp8.calls.length - f16.calls.length).toBe(whole.num_hidden_layers);
      const kernels = fp8.calls.filter((c) => c.layer === 0).map((c) => c.kernel.name);
      expect(kernels.indexOf('kv_pack')).toBeLessThan(
        kernels.findIndex((kernel) => kernel.startsWith('mfa_')),
      );
      const bytes = plans.map((plan) => plan.slots.get('layers.0.k_cache')?.bytes ?? 0);
      const { kvHeads, headDim } = layerFacts(whole, 0).attention;
      expect(bytes).toEqual([64 * 64 * kvHeads * headDim * 2, 64 * 64 * kvHeads * (headDim + 4)]);
      // Values do not wait for the context, and their rows do not last.
      expect(fp8.slots.get('v_rows')).toMatchObject({
        bytes: 4 * kvHeads * headDim * 4,
        purpose: 'activations',
      });
    }
  });

  it('experts that lie in several buffers are read by one call, within default storage buffers', () => {
    const config = { ...PRESETS.step3, num_hidden_layers: 5 };
    const limit = 2 ** 31 - 4;
    const layout = weightLayout(config, () => ({ format: 'bf16' }), limit);
    const cache = { sequences: 4, maxContext: 1024, pages: 64, kv: 'f16' } as const;
    const caps = { ...BASELINE, maxBindingBytes: limit };
    for (const batch of [1, 4]) {
      const plan = planDecode(config, { layout, cache, caps, deterministic: false }, batch, 1024);
      const experts = plan.calls.filter((c) => c.label.startsWith('layers.4.moe.') && 'w1' in c.slots);
      expect(experts.map((c) => [c.label, c.params])).toMatchObject([
        [
          'layers.4.moe.gate_up_proj',
          { buffers: [12, 12, 12, 12], shard: { expertBegin: 0, expertCount: 48 } },
        ],
        ['layers.4.moe.down_proj', { buffers: [24, 24], shard: { expertBegin: 0, expertCount: 48 } }],
      ]);
      expect(names(plan, 4).length).toBe(batch === 1 ? 9 : 10);
      for (const call of plan.calls)
        expect(Object.keys(call.slots).length, call.label).toBeLessThanOrEqual(DEFAULT_STORAGE_BUFFERS);
    }
  });

  it('says which call binds more buffers than the adapter allows', () => {
    const few = options('step3-tiny', { caps: { ...BASELINE, maxStorageBuffers: 6 } });
    expect(() => planDecode(preset('step3-tiny'), few, 1, 64)).toThrow(
      /kernel matvec: layers\.0\.qkv_proj: expected at most 6 storage buffers, got 8/,
    );
  });

  it('the released model plans at default limits: no binding and no dispatch exceeds them', () => {
    const config = PRESETS.step3;
    const o = options('step3', { cache: { sequences: 1, maxContext: 65536, pages: 1024, kv: 'f16' } });
    for (const plan of [
      planDecode(config, o, 1, 65536),
      planPrefill(config, o, 64, 65536, { kind: 'picked', rows: 1 }),
    ]) {
      for (const slot of plan.slots.values())
        expect(slot.bytes, slot.name).toBeLessThanOrEqual(BASELINE.maxBindingBytes);
    }
    // Every weight appears in exactly one shard.
    let elements = 0;
    for (const m of o.layout.matrices.values()) {
      for (const s of m.shards) elements += s.expertCount * s.rowCount * padRow(m.cols);
    }
    for (const v of o.layout.vectors.values()) elements += v.length;
    expect(elements / 1e9).toBeCloseTo(316.29, 2);
    const gateUp = o.layout.matrices.get('layers.4.moe.gate_up_proj');
    const bytes =
      gateUp?.shards.map((s) => s.expertCount * s.rowCount * padRow(gateUp.cols) * PLAIN_BYTES.bf16) ?? [];
    expect(bytes.length).toBeGreaterThan(48);
    expect(Math.max(...bytes)).toBeLessThanOrEqual(BASELINE.maxBindingBytes);
  });

  it('deterministic plans use the same kernels and tiles whatever the number of tokens', () => {
    const o = options('step3-tiny', { deterministic: true });
    const signature = (plan: Plan) =>
      plan.calls
        .filter((c) => c.label !== 'sample')
        .map((c) => `${c.label} ${c.kernel.name} ${JSON.stringify(c.kernel.constants(c.params))}`);
    const one = signature(planPrefill(preset('step3-tiny'), o, 1, 256, { kind: 'all' }));
    expect(signature(planPrefill(preset('step3-tiny'), o, 100, 256, { kind: 'all' }))).toEqual(one);
    expect(signature(planDecode(preset('step3-tiny'), o, 4, 256))).toEqual(one);
  });

  it('says which slot does not fit', () => {
    const o = options('step3-tiny', {
      cache: { sequences: 4096, maxContext: 65536, pages: 4 << 20, kv: 'f32' },
    });
    expect(() => planDecode(preset('step3-tiny'), o, 1, 256)).toThrow(KernelError);
    expect(() => planDecode(preset('step3-tiny'), o, 1, 256)).toThrow(
      /slot layers\.0\.k_cache needs \d+ bytes/,
    );
  });
});

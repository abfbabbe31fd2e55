import { describe, expect, it } from 'vitest';
import { benchCases, DEFAULT_BATCHES } from '../../src/bench/cases.ts';
import { benchContents, benchCost, isStreamed } from '../../src/bench/contents.ts';
import { KERNELS } from '../../src/kernels/index.ts';
import { BASELINE, bindingBytes, type Capabilities } from '../../src/kernels/kernel.ts';
import { grouped, type LinearParams } from '../../src/kernels/linear.ts';
import { matmul_matrix } from '../../src/kernels/matmul_matrix.ts';
import { elements } from '../../src/tensor.ts';

const ALL = { shapes: 'all', batches: DEFAULT_BATCHES, variants: false } as const;
/** Room for every tensor of the released model but its experts. */
const LARGE: Capabilities = { ...BASELINE, maxBindingBytes: 2 ** 31 };
const everything = benchCases(LARGE, ALL);

describe('cases', () => {
  it('has shapes for every kernel that the adapter can run, each supported and named once', () => {
    const available = KERNELS.filter((kernel) => kernel.variants.some((v) => v.available(LARGE)));
    // One of them has its place in plans on subgroups of GPUs only.
    const onGpu = benchCases({ ...LARGE, subgroups: true, subgroupMinSize: 32, subgroupMaxSize: 32 }, ALL);
    expect(new Set([...everything, ...onGpu].map((c) => c.kernel))).toEqual(new Set(available));
    for (const { kernel, params } of everything) kernel.check(params);
    const names = everything.map((c) => `${c.kernel.name} ${c.variant.name} ${c.shape}`);
    expect(new Set(names).size).toBe(names.length);
  });

  it('runs each linear layer once per batch, by the kernel that plans use', () => {
    for (const layer of ['qkv_proj', 'wq', 'o_proj', 'lm_head']) {
      const cases = benchCases(LARGE, { ...ALL, shapes: 'real', filter: ` ${layer} ` });
      const batches = cases.map((c) => (c.params as LinearParams).tokens).sort((a, b) => a - b);
      expect(batches).toEqual([...DEFAULT_BATCHES]);
    }
  });

  it('runs the layers of a preset, with weights as a conversion leaves them', () => {
    const options = { ...ALL, shapes: 'real', batches: [1], preset: 'step35-flash' } as const;
    const formats = (cases: ReturnType<typeof benchCases>) =>
      Object.fromEntries(cases.map((c) => [c.shape, (c.params as LinearParams).format]));
    const own = formats(benchCases(LARGE, options));
    expect(own['lm_head 128896x4096, batch 1']).toBe('bf16');
    const q4 = formats(benchCases(LARGE, { ...options, format: 'q4_k' }));
    expect(q4['lm_head 128896x4096, batch 1, q8_0']).toBe('q8_0');
    expect(q4['moe.gate 288x4096, batch 1, f32']).toBe('f32');
    // Layers with full attention and those with a window have other widths.
    const attention = Object.keys(q4).filter((name) => name.startsWith('o_proj'));
    expect(attention).toEqual(['o_proj 4096x8192, batch 1, q4_k', 'o_proj 4096x12288, batch 1, q4_k']);
    const fp8 = benchCases(LARGE, { ...ALL, shapes: 'small', batches: [1], format: 'fp8' });
    expect(fp8.map((c) => c.kernel.name)).toContain('matvec_units');
    for (const { kernel, params } of fp8) kernel.check(params);
    expect(() => benchCases(LARGE, { ...options, preset: 'nothing' })).toThrow(/"nothing"/);
  });

  it('filters by kernel and shape, and lists the kernels when nothing matches', () => {
    const some = benchCases(BASELINE, { ...ALL, filter: 'LM_head', batches: [1] });
    expect(some.length).toBeGreaterThan(0);
    expect(some.every((c) => c.shape.includes('lm_head'))).toBe(true);
    expect(() => benchCases(BASELINE, { ...ALL, filter: 'nothing' })).toThrow(/filter: .*matvec.*"nothing"/);
  });

  it('times every available variant when asked to', () => {
    const caps = { ...BASELINE, subgroups: true, subgroupMinSize: 8, subgroupMaxSize: 32 };
    const options = { ...ALL, shapes: 'small', filter: 'matvec qkv_proj', batches: [1] } as const;
    expect(benchCases(caps, options)).toHaveLength(1);
    const variants = benchCases(caps, { ...options, variants: true }).map((c) => c.variant.name);
    expect(variants).toEqual(expect.arrayContaining(['subgroup', 'workgroup']));
  });
});

describe('contents', () => {
  it('are whole rows; those of large bindings are short and finite', () => {
    for (const { kernel, params } of benchCases(LARGE, { ...ALL, batches: [4, 64] })) {
      for (const [name, { spec, unit, values }] of Object.entries(
        benchContents(kernel, params, 1, 'drawn'),
      )) {
        const bytes = bindingBytes(spec);
        const row = spec.dims[spec.dims.length - 1];
        expect(values.length % row === 0 || values.length === elements(spec.dims), name).toBe(true);
        expect(unit.length, name).toBeLessThanOrEqual(bytes + 4);
        if (!isStreamed(name, spec)) continue;
        expect(unit.length, name).toBeLessThan(4 * 1024 * 1024);
        expect(values.every(Number.isFinite), name).toBe(true);
      }
    }
  });

  it('choose experts evenly, and count those that are read', () => {
    const options = { ...ALL, shapes: 'small', filter: 'moe.gate_up_proj', batches: [1, 16] } as const;
    const [one, many] = benchCases(LARGE, options);
    // The shared expert is in the call of a single token.
    for (const [{ kernel, params }, experts, pairs] of [
      [one, 49, 4],
      [many, 48, 48],
    ] as const) {
      const p = params as LinearParams;
      expect(p.shard.expertCount).toBe(experts);
      const { flops, bytesRead } = benchCost(kernel, p, 'even');
      expect(flops).toBeCloseTo(2 * pairs * p.N * p.K);
      const weights = pairs * p.N * p.K * 2;
      expect(bytesRead).toBeGreaterThan(weights);
      expect(bytesRead).toBeLessThan(weights * 1.05);
    }
  });

  it('draw experts for many tokens as a router does: different ones for a token, and as many as come of it', () => {
    const params = grouped(48, 64, 64, 3 * 1024, 3, 96, {
      shard: { expertBegin: 12, expertCount: 12, rowBegin: 0, rowCount: 64 },
    });
    const [even, drawn] = (['even', 'drawn'] as const).map((spread) => {
      const { tiles, pairs } = benchContents(matmul_matrix, params, 1, spread);
      const experts = new Map<number, number>();
      for (let at = 0; at < tiles.values.length; at += 4) {
        const [expert, begin, count] = tiles.values.subarray(at, at + 3);
        if (expert === 0xffffffff) continue;
        for (const pair of pairs.values.subarray(begin, begin + count)) experts.set(pair, expert);
      }
      expect(experts.size).toBe(3 * 1024);
      for (let token = 0; token < 1024; token++) {
        expect(new Set([0, 1, 2].map((i) => experts.get(token * 3 + i))).size).toBe(3);
      }
      const loads = Array.from({ length: 48 }, (_, e) => [...experts.values()].filter((x) => x === e).length);
      const held = loads.slice(12, 24).reduce((a, b) => a + b);
      expect(benchCost(matmul_matrix, params, spread).flops).toBeCloseTo(2 * held * 64 * 64);
      return loads;
    });
    expect(new Set(even)).toEqual(new Set([64]));
    expect(Math.max(...drawn)).toBeGreaterThan(72);
    expect(Math.max(...drawn)).toBeLessThan(96);
  });
});

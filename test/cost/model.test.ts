/** The cost model apart from the report's tables: conventions, sizing, and what it refuses. */
import { describe, expect, it } from 'vitest';
import { configToJson, PRESETS } from '../../src/config/index.ts';
import { deploymentTpot, sizeAfd, stageTimes } from '../../src/cost/afd.ts';
import { HARDWARE, hardware } from '../../src/cost/cards.ts';
import { type CostModel, withKvBytes } from '../../src/cost/models.ts';
import { COST_MODELS, costModel } from '../../src/cost/presets.ts';
import { bestPairing, unitCosts } from '../../src/cost/price.ts';
import { readCostModel } from '../../src/cost/read_model.ts';
import { minimumSparsity } from '../../src/cost/sparsity.ts';
import { parameters, tokenCost } from '../../src/cost/token.ts';
import { InputError } from '../../src/errors.ts';
import { elements } from '../../src/tensor.ts';
import { syntheticCheckpoint } from '../../src/weights/synthetic.ts';

const { step3 } = COST_MODELS;

describe('conventions', () => {
  it('absorbed MLA needs 1088 of the 1152 products that the report counts', () => {
    const count = (convention: 'paper' | 'exact') =>
      tokenCost(COST_MODELS['deepseek-v3'], 8192, convention).attention_flops;
    expect(count('exact') / count('paper')).toBeCloseTo(1088 / 1152, 12);
  });

  it('windows cap the context', () => {
    const at = (context: number) => tokenCost(COST_MODELS['step3.5-flash'], context).kv_bytes;
    expect(at(1024) - at(512)).toBe(12 * 512 * 2 * 8 * 128);
    expect(at(512) - at(511)).toBe(45 * 2 * 8 * 128);
  });

  it('lightning layers need 5 operations per state element, of which the report counts twice as many', () => {
    const count = (convention: 'paper' | 'exact') =>
      tokenCost(COST_MODELS['minimax-m1'], 8192, convention).attention_flops;
    expect(count('paper') - count('exact')).toBe(70 * 5 * 64 * 128 ** 2);
  });

  it('4-bit keys and values double the arithmetic intensity', () => {
    expect(tokenCost(withKvBytes(step3, 0.5), 100).arithmetic_intensity).toBe(256);
  });

  it.each(Object.keys(PRESETS))('parameters of %s are those of its tensors, but for norms', (name) => {
    const { weights } = syntheticCheckpoint(PRESETS[name], 0);
    const trunk = PRESETS[name].num_hidden_layers;
    const inTrunk = (tensor: string) => Number(/layers\.(\d+)/.exec(tensor)?.[1] ?? 0) < trunk;
    const matrices = [...weights.values()].filter(
      (tensor) => tensor.shape.length > 1 && inTrunk(tensor.name),
    );
    const total = matrices.reduce((sum, tensor) => sum + elements(tensor.shape), 0);
    expect(parameters(readCostModel(configToJson(PRESETS[name]), name)).total).toBe(total);
  });
});

describe('sizing', () => {
  const sized = (context: number) => sizeAfd(step3, HARDWARE.h800, HARDWARE.h800, { context, tpot: 0.05 });

  it('sends 3 bytes per element of the hidden state and layer', () => {
    expect(sized(4096).wire_bytes_per_token).toBe(3 * 7168 * 61);
  });

  it('adds attention instances only as the context grows', () => {
    const [short, long] = [sized(4096), sized(32768)];
    expect(long.attention_instances).toBeGreaterThan(2 * short.attention_instances);
    expect(long.ffn_instances).toBe(short.ffn_instances);
    expect(long.ffn_batch).toBe(short.ffn_batch);
    expect(long.tokens_per_gpu_second).toBeLessThan(short.tokens_per_gpu_second);
  });

  it('is above what the report measured, as it knows no efficiencies', () => {
    expect(sized(4096).tokens_per_gpu_second).toBeGreaterThan(4039);
  });

  it.each([
    ['step3', 'h800', 'h800', 4096],
    ['step3', 'h20', 'h800', 32768],
    ['step3', 'l20', 'l20', 8192],
    ['deepseek-v3', 'h800', 'h800', 8192],
    ['qwen3-235b', 'h20', '910b', 16384],
    ['minimax-m1', 'a800', 'h20', 100000],
  ])(
    '%s on %s and %s at %d: every stage and memory suffices, and one request or instance less would not',
    (id, a, f, context) => {
      const [model, attention, ffn] = [COST_MODELS[id], HARDWARE[a], HARDWARE[f]];
      const size = sizeAfd(model, attention, ffn, { context, tpot: 0.05 });
      const { attention_instances, ffn_instances, ffn_batch: micro_batch } = size;
      const deployment = { attention_instances, ffn_instances, micro_batch, context };
      const times = stageTimes(model, attention, ffn, deployment);
      for (const seconds of Object.values(times))
        expect(seconds).toBeLessThanOrEqual(size.stage_seconds * 1.0001);
      expect(deploymentTpot(model, times)).toBeLessThanOrEqual(0.05 * 1.0001);
      expect(size.attention_card_bytes).toBeLessThanOrEqual(attention.memory_bytes!);
      expect(size.ffn_card_bytes).toBeLessThanOrEqual(ffn.memory_bytes!);
      expect((attention_instances - 1) * 8 * size.attention_batch).toBeLessThan(micro_batch);
    },
  );

  it('needs more cards where memory is small', () => {
    const size = (memory_bytes: number) =>
      sizeAfd(step3, { ...HARDWARE.h800, memory_bytes }, HARDWARE.h800, { context: 4096, tpot: 0.05 });
    expect(size(200e9).attention_bound).toBe('time');
    expect(size(2e10).attention_bound).toBe('memory');
    expect(size(2e10).attention_instances).toBeGreaterThan(size(80e9).attention_instances);
    expect(() => size(1.2e10)).toThrow(/context: expected one that H800 attends .*limit: memory/);
    const ffn = (memory_bytes: number) =>
      sizeAfd(step3, HARDWARE.h800, { ...HARDWARE.h800, memory_bytes }, { context: 4096, tpot: 0.05 });
    // 304 GB of FFN weights.
    expect([ffn(80e9).ffn_instances, ffn(2e10).ffn_instances]).toEqual([1, 2]);
  });

  it('is limited by the attention side of the network where many FFN instances answer', () => {
    const slow = { ...HARDWARE.h800, server_network: 4e9 };
    const size = sizeAfd(step3, slow, HARDWARE.h800, { context: 1, tpot: 0.05 });
    expect(size.attention_bound).toBe('network');
    expect(size.attention_batch).toBe(Math.floor((4e9 * 0.05) / 3 / 61 / (3 * 7168) / 8));
  });

  it('takes a micro-batch that is asked for', () => {
    const size = sizeAfd(step3, HARDWARE.h800, HARDWARE.h800, { context: 4096, tpot: 0.05, batch: 2048 });
    expect(size).toMatchObject({ ffn_batch: 2048, ffn_bound: 'batch' });
  });

  it('names the figures that it lacks', () => {
    const { memory_bytes: _, ...card } = HARDWARE.h800;
    const target = { context: 4096, tpot: 0.05 };
    expect(() => sizeAfd(step3, card, HARDWARE.h800, target)).toThrow(
      /H800: expected a known memory capacity/,
    );
    expect(() => sizeAfd(step3, HARDWARE.h100, HARDWARE.h800, target)).toThrow(
      /H100: expected a known server/,
    );
  });

  it('refuses a context that one request cannot attend in time', () => {
    expect(() => sized(2 ** 24)).toThrow(/context: expected one that H800 attends within a TPOT of 0.05 s/);
  });
});

describe('what it refuses', () => {
  it('unknown models and hardware, with the known ones', () => {
    expect(() => costModel('gpt')).toThrow(/model: expected one of deepseek-v3, kimi-k2, .*"gpt"/);
    expect(() => costModel('constructor')).toThrow(InputError);
    expect(() => hardware('H900')).toThrow(/hardware: expected one of h800, h20, .*"H900"/);
    expect(hardware(' H800 ')).toBe(HARDWARE.h800);
  });

  it.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])('a context of %d', (context) => {
    expect(() => tokenCost(step3, context)).toThrow(/context: expected a positive integer/);
  });

  it('missing prices, peaks and networks', () => {
    expect(() => unitCosts(HARDWARE.h100)).toThrow(/hardware H100: expected a known price per hour/);
    expect(() => unitCosts({ ...HARDWARE['m2-ultra'], dollars_per_hour: 1 })).toThrow(
      /Apple M2 Ultra: expected a known peak FLOP/,
    );
    expect(() => minimumSparsity(step3, HARDWARE.l4, 0.05)).toThrow(/L4: expected a known server network/);
  });

  it('impossible models', () => {
    const short: CostModel = { ...step3, ffn: step3.ffn.slice(1) };
    expect(() => tokenCost(short, 1)).toThrow(/layers: expected one FFN for each of the 61/);
    expect(() => tokenCost({ ...step3, hidden_size: -1 }, 1)).toThrow(/hidden_size: expected a positive/);
    const [dense, moe] = step3.ffn;
    const crowded = { ...step3, ffn: [dense, { ...moe, each: { ...moe.each, top_k: 49 } }] };
    expect(() => parameters(crowded as CostModel)).toThrow(/top_k: expected 1 to 48 \(experts\), got 49/);
    const [group] = COST_MODELS['qwen3-32b'].attention;
    const odd = { ...group, each: { ...group.each, num_attention_heads: 63 } };
    expect(() => tokenCost({ ...COST_MODELS['qwen3-32b'], attention: [odd] }, 1)).toThrow(
      /num_attention_heads: expected a multiple of num_key_value_heads \(8\), got 63/,
    );
    expect(() => withKvBytes(step3, 0)).toThrow(/KV bytes per element/);
    expect(() => minimumSparsity(step3, HARDWARE.h800, 0)).toThrow(/TPOT/);
    expect(() => bestPairing(tokenCost(step3, 1), [])).toThrow(/hardware: expected at least one card/);
  });
});

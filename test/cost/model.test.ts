/** The cost model apart from the report's tables: conventions, sizing, and what it refuses. */
import { describe, expect, it } from 'vitest';
import { PRESETS } from '../../src/config/index.ts';
import { sizeAfd } from '../../src/cost/afd.ts';
import { HARDWARE, hardware } from '../../src/cost/hardware.ts';
import {
  COST_MODELS,
  type CostModel,
  configCostModel,
  costModel,
  withKvBytes,
} from '../../src/cost/models.ts';
import { bestPairing, unitCosts } from '../../src/cost/price.ts';
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
    expect(parameters(configCostModel(PRESETS[name], name)).total).toBe(total);
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
    expect(() => unitCosts({ ...HARDWARE['m4-max'], dollars_per_hour: 1 })).toThrow(
      /Apple M4 Max: expected a known peak FLOP/,
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

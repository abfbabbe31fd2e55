/** The printed tables of the Step-3 report. */
import { describe, expect, it } from 'vitest';
import { HARDWARE, PAPER_HARDWARE } from '../../src/cost/cards.ts';
import { attentionLayerSeconds } from '../../src/cost/layer_time.ts';
import { COST_MODELS } from '../../src/cost/presets.ts';
import { bestPairing, pairing } from '../../src/cost/price.ts';
import { denseBatch, minimumSparsity, modelSparsity, moeBatch } from '../../src/cost/sparsity.ts';
import { type Cell, paperTables } from '../../src/cost/tables.ts';
import { parameters, tokenCost } from '../../src/cost/token.ts';

function cells(title: string): readonly Cell[] {
  const table = paperTables().find((each) => each.title.startsWith(title));
  return table?.cells ?? [];
}

describe('what a decoded token needs', () => {
  it.each(cells('Tables 2 and 3'))('$row $column', ({ computed, printed }) => {
    expect(Math.abs(computed / printed - 1)).toBeLessThanOrEqual(0.005);
  });

  it('has all nine models in six columns', () => {
    expect(cells('Tables 2 and 3')).toHaveLength(54);
  });

  it.each([
    ['step3', 128],
    ['deepseek-v3', 512],
    ['kimi-k2', 256],
    ['qwen3-235b', 32],
    ['qwen3-32b', 16],
    ['ernie-4.5', 16],
    ['pangu-pro', 10],
  ])('arithmetic intensity of %s', (model, intensity) => {
    expect(tokenCost(COST_MODELS[model], 8192).arithmetic_intensity).toBeCloseTo(intensity, 6);
    expect(tokenCost(COST_MODELS[model], 1000).arithmetic_intensity).toBeCloseTo(intensity, 6);
  });

  it('parameters of Step-3 and Step-3.5-Flash', () => {
    const { total, active } = parameters(COST_MODELS.step3);
    expect([(total / 1e9).toFixed(2), (active / 1e9).toFixed(2)]).toEqual(['316.29', '37.92']);
    expect((parameters(COST_MODELS['step3.5-flash']).total / 1e9).toFixed(2)).toBe('196.96');
  });

  it('active parameters of Step-3.5-Flash without routers and head-wise gates are the 11.39 billion seen elsewhere', () => {
    const [routers, gates] = [42 * 4096 * 288, 4096 * (12 * 64 + 33 * 96)];
    const { total, active } = parameters(COST_MODELS['step3.5-flash']);
    expect((active / 1e9).toFixed(2)).toBe('11.46');
    expect(((active - routers - gates) / 1e9).toFixed(2)).toBe('11.39');
    expect(((total - gates) / 1e9).toFixed(2)).toBe('196.94');
  });

  it.each([
    ['deepseek-v3', 37],
    ['qwen3-235b', 22],
    ['minimax-m1', 46],
    ['ernie-4.5', 47],
    ['step3', 38],
  ])('active parameters of %s as in the caption of Table 6', (model, billions) => {
    expect(Math.abs(parameters(COST_MODELS[model]).active / 1e9 / billions - 1)).toBeLessThan(0.03);
  });

  it('active parameters of Pangu Pro in that caption include the embedding', () => {
    const { active, vocabulary } = parameters(COST_MODELS['pangu-pro']);
    expect(((active + vocabulary / 2) / 1e9).toFixed(1)).toBe('16.5');
  });
});

describe('prices', () => {
  // The report cuts the H800's 2.806e-19 dollars per FLOP off to 2.80 and rounds all others.
  it.each(cells('Table 5'))('unit cost $row $column', ({ row, column, computed, printed }) => {
    if (row === 'H800' && column === 'per_flop')
      expect(Math.floor(computed / 1e-21) * 1e-21).toBeCloseTo(printed, 30);
    else expect(computed.toPrecision(3)).toBe(printed.toPrecision(3));
  });

  it.each(cells('Table 6'))('$row $column', ({ computed, printed }) => {
    expect(Math.abs(computed - printed)).toBeLessThanOrEqual(0.0006);
  });

  it('has all nine models, three parts and four cards', () => {
    expect(cells('Table 6')).toHaveLength(108);
  });

  it.each(cells('Totals'))('best pairing $row $column', ({ computed, printed }) => {
    expect(computed.toFixed(3)).toBe(printed.toFixed(3));
  });

  // Figures 1 and 2 print no numbers; these were computed apart, from the tables.
  it.each([
    ['deepseek-v3', 'h800', 0.0677, 0.2109],
    ['kimi-k2', 'h800', 0.0648, 0.208],
    ['qwen3-235b', 'h20', 0.0618, 0.1933],
    ['qwen3-32b', 'h20', 0.0828, 0.2618],
    ['llama4-maverick', 'h20', 0.0672, 0.1343],
    ['minimax-m1', 'h20', 0.0947, 0.1506],
    ['ernie-4.5', 'h20', 0.0839, 0.2349],
    ['pangu-pro', 'h20', 0.0559, 0.1902],
    ['step3', 'h20', 0.055, 0.1288],
  ])('totals of %s, with attention on %s', (model, attention, ...totals) => {
    for (const [i, context] of [8192, 32768].entries()) {
      const best = bestPairing(tokenCost(COST_MODELS[model], context), PAPER_HARDWARE);
      expect(best).toMatchObject({ attention: HARDWARE[attention], ffn: HARDWARE.h800 });
      expect(best.total).toBeCloseTo(totals[i], 4);
    }
  });

  it('names the hardware of the best pairing', () => {
    const step3 = bestPairing(tokenCost(COST_MODELS.step3, 8192), PAPER_HARDWARE);
    expect([step3.attention.name, step3.ffn.name]).toEqual(['H20', 'H800']);
    const dsv3 = bestPairing(tokenCost(COST_MODELS['deepseek-v3'], 8192), PAPER_HARDWARE);
    expect([dsv3.attention.name, dsv3.ffn.name]).toEqual(['H800', 'H800']);
  });

  // Figure 3 prints no numbers either: the whole model on H800 at 8K, 32K and 128K.
  it.each([
    ['llama4-maverick', [0.175, 0.376, 1.177]],
    ['minimax-m1', [0.179, 0.346, 1.013]],
    ['step3', [0.063, 0.19, 0.7]],
  ])('one kind of hardware: %s on H800', (model, expected) => {
    const totals = [8192, 32768, 131072].map(
      (context) => pairing(tokenCost(COST_MODELS[model], context), HARDWARE.h800, HARDWARE.h800).total,
    );
    for (const [i, total] of totals.entries()) expect(Math.abs(total - expected[i])).toBeLessThan(0.0006);
  });
});

describe('sparsity', () => {
  it.each(cells('Table 7'))('$row', ({ computed, printed }) => {
    expect(computed.toFixed(3)).toBe(printed.toFixed(3));
  });

  it('is larger where the network gives 40 GB/s per port', () => {
    expect(minimumSparsity(COST_MODELS.step3, HARDWARE.h800, 0.05, 8 * 40e9).toFixed(3)).toBe('0.073');
  });

  it.each([
    ['h800', 296, 3620, 8439],
    ['h20', 37, 453, 1057],
    ['a800', 78, 956, 2227],
    ['910b', 87.5, 1072, 2499],
  ])('batches on %s', (card, dense, step3, dsv3) => {
    const share = (model: string) => modelSparsity(COST_MODELS[model]);
    expect(Math.abs(denseBatch(HARDWARE[card]) - dense)).toBeLessThan(1);
    expect(Math.abs(moeBatch(HARDWARE[card], share('step3')) - step3)).toBeLessThan(1);
    expect(Math.abs(moeBatch(HARDWARE[card], share('deepseek-v3')) - dsv3)).toBeLessThan(1);
  });
});

describe('throughput', () => {
  it('of 3A4F is what 3 × 3072 tokens in 50 ms give', () => {
    const system = cells('Table 8').find(({ row }) => row === '3A4F');
    expect(system?.computed.toFixed(0)).toBe('3291');
  });

  // What the report prints took 45.5 ms per token with 3A2F, 47.5 with 2A2F and 48.4 with 4A2F.
  it.each([
    ['3A2F', 45.5],
    ['2A2F', 47.5],
    ['4A2F', 48.4],
  ])('of %s is measured at %d ms per token', (name, ms) => {
    const system = cells('Table 8').find(({ row }) => row === name)!;
    expect((50 * system.computed) / system.printed).toBeCloseTo(ms, 1);
  });

  it('implies times per token between the roofline and the aim', () => {
    const times = cells('Table 8: time');
    expect(times).toHaveLength(3);
    for (const { computed, printed } of times) {
      expect(computed).toBeLessThan(printed);
      expect(printed).toBeLessThan(50);
    }
  });

  it('with four FFN instances is limited by what 40 GB/s per port carry, to within a percent', () => {
    const [{ computed, printed }] = cells('§7.3');
    expect(Math.abs(computed / printed - 1)).toBeLessThan(0.01);
  });

  it('falls with attention instances as the report extrapolates', () => {
    const at = (name: string) => cells('Table 8').find(({ row }) => row === name)!.computed;
    expect(((4039 * at('4A2F')) / at('2A2F')).toFixed(0)).toBe('2693');
    expect(((4039 * at('16A2F')) / at('2A2F')).toFixed(0)).toBe('898');
  });

  it.each(cells('Table 9'))('no measurement beats the roofline: $row $column', ({ computed, printed }) => {
    expect(computed).toBeLessThan(printed);
  });

  it.each([
    ['step3', 'h800', 8192, 211],
    ['step3', 'h20', 8192, 305],
    ['step3', 'a800', 32768, 1158],
    ['deepseek-v3', 'h20', 32768, 4260],
    ['qwen3-235b', 'h800', 32768, 1287],
    // 16 query heads per key head, a quarter of the rows that Hopper multiplies.
    ['qwen3-235b', 'h20', 8192, 495],
    ['qwen3-235b', 'a800', 8192, 551],
    ['qwen3-235b', 'a800', 32768, 2162],
  ])('layer of %s on %s at %d', (model, card, context, micros) => {
    const seconds = attentionLayerSeconds(COST_MODELS[model], HARDWARE[card], context, 256, 4);
    expect(Math.abs(seconds * 1e6 - micros)).toBeLessThanOrEqual(1);
  });
});

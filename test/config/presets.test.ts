import { describe, expect, it } from 'vitest';
import { PRESETS, preset } from '../../src/config/index.ts';
import { ConfigError } from '../../src/errors.ts';
import { elements } from '../../src/tensor.ts';
import { expectedTensors } from '../../src/weights/names.ts';

function parameters(name: string, part: RegExp = /./): number {
  return expectedTensors(preset(name))
    .filter((spec) => part.test(spec.name))
    .reduce((sum, spec) => sum + elements(spec.shape), 0);
}

describe('presets', () => {
  it('step3 has the parameters of the released model, part by part', () => {
    const billions = (part?: RegExp) => Number((parameters('step3', part) / 1e9).toFixed(2));
    expect(billions(/moe\.(gate|up|down)_proj/)).toBe(295.95);
    expect(billions(/share_expert/)).toBe(6.17);
    expect(billions(/\.mlp\./)).toBe(1.98);
    expect(billions(/self_attn/)).toBe(10.33);
    expect(billions(/embed_tokens|lm_head/)).toBe(1.85);
    expect(billions()).toBe(316.29);
  });

  it('step35-flash has the parameters of the released model, part by part', () => {
    const trunk = /^(?!model\.layers\.4[567]\.)/;
    const mtp = /^model\.layers\.45\./;
    expect(parameters('step35-flash', trunk) / 1e9).toBeCloseTo(196.96, 2);
    expect(parameters('step35-flash', mtp) / 1e9).toBeCloseTo(0.809, 3);
    expect(parameters('step35-flash', /moe\.(gate|up|down)_proj/) / 1e9).toBeCloseTo(190.25, 2);
    expect(parameters('step35-tiny') * 2).toBeLessThan(1_000_000);
  });

  it('the others have the size that their names promise', () => {
    expect(parameters('step3-mini') / 1e9).toBeCloseTo(1.04, 2);
    expect(parameters('step3-small') / 1e6).toBeCloseTo(100, 0);
    expect(parameters('step3-tiny') * 2).toBeLessThan(600_000);
  });

  it.each([
    ['step3-mini', 8],
    ['step3-small', 16],
    ['step3-tiny', 128],
  ] as const)('%s divides every width of step3 by %i', (name, divisor) => {
    const small = preset(name);
    const large = PRESETS.step3;
    for (const field of [
      'hidden_size',
      'intermediate_size',
      'share_q_dim',
      'moe_intermediate_size',
      'share_expert_dim',
    ] as const) {
      expect(small[field] * divisor, field).toBe(large[field]);
    }
    const heads = (config: typeof small) => config.num_attention_heads * config.head_dim;
    expect(heads(small) * divisor).toBe(heads(large));
    expect(small.moe_top_k).toBe(large.moe_top_k);
    expect([0, small.num_hidden_layers - 1].some((layer) => small.moe_layers.includes(layer))).toBe(false);
  });

  it.each(['step4', 'constructor', ''])('refuses the name %j and lists the known ones', (name) => {
    expect(() => preset(name)).toThrow(ConfigError);
    expect(() => preset(name)).toThrow(/step3, step3-mini, step3-small, step3-tiny/);
  });
});

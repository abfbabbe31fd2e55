/** The weights of the reference checkpoints that were drawn at random, drawn again. */
import type { ModelConfig } from '../../src/config/index.ts';
import { elements } from '../../src/tensor.ts';
import { expectedTensors, type TensorSpec } from '../../src/weights/names.ts';
import { roundBf16 } from './quantise.ts';
import { Mt19937, normals } from './torch_normal.ts';

/** How a checkpoint was drawn: the seed, and how many numbers the generator had given before the first weight. */
export interface Drawing {
  readonly seed: number;
  readonly skip: number;
}

/** In the order of drawing; each architecture has some of these. */
const ATTENTION = [
  'q_proj',
  'inter_norm',
  'wq',
  'k_proj',
  'v_proj',
  'o_proj',
  'q_norm',
  'k_norm',
  'g_proj',
] as const;
const MLP = ['gate_proj', 'up_proj', 'down_proj'] as const;

/** The weights of a checkpoint by name, as bf16 holds them; the biases of routers are not among them. */
export function drawWeights(config: ModelConfig, { seed, skip }: Drawing): Map<string, Float32Array> {
  const specs = new Map(expectedTensors(config).map((spec) => [spec.name, spec]));
  const random = new Mt19937(seed);
  random.skip(skip);
  const weights = new Map<string, Float32Array>();
  const draw = (module: string) => {
    const spec = specs.get(`${module}.weight`);
    if (spec === undefined) return;
    const [std, mean] = spread(spec);
    weights.set(spec.name, normals(random, elements(spec.shape), std, mean).map(roundBf16));
  };
  /** Stacks of experts of which each expert was drawn in all before the next. */
  const drawTogether = (...modules: string[]) => {
    const found = modules.map((module) => specs.get(`${module}.weight`)!);
    const stacks = found.map(({ shape }) => new Float32Array(elements(shape)));
    for (let expert = 0; expert < (found[0]?.shape[0] ?? 0); expert++) {
      for (const [i, spec] of found.entries()) {
        const count = stacks[i].length / spec.shape[0];
        const [std, mean] = spread(spec);
        stacks[i].set(normals(random, count, std, mean).map(roundBf16), expert * count);
      }
    }
    for (const [i, { name }] of found.entries()) weights.set(name, stacks[i]);
  };
  draw('model.embed_tokens');
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const at = `model.layers.${layer}`;
    for (const module of ATTENTION) draw(`${at}.self_attn.${module}`);
    if (specs.has(`${at}.moe.gate.weight`)) {
      draw(`${at}.moe.gate`);
      drawTogether(`${at}.moe.gate_proj`, `${at}.moe.up_proj`);
      draw(`${at}.moe.down_proj`);
    }
    for (const mlp of ['mlp', 'share_expert']) for (const module of MLP) draw(`${at}.${mlp}.${module}`);
    draw(`${at}.input_layernorm`);
    draw(`${at}.post_attention_layernorm`);
  }
  draw('model.norm');
  // Here come the biases of the routers, drawn in another way: each pair of numbers from four words.
  const biases = [...specs.values()].filter(({ kind }) => kind === 'bias');
  random.skip(4 * Math.ceil(biases.reduce((sum, { shape }) => sum + shape[0], 0) / 2));
  draw('lm_head');
  return weights;
}

/** Standard deviation and mean. */
function spread({ kind, shape }: TensorSpec): [number, number] {
  if (kind === 'norm') return [0.2, 1];
  return kind === 'centred norm' ? [0.3, 0] : [1.2 / Math.sqrt(shape[shape.length - 1]), 0];
}

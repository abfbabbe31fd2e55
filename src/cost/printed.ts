/** Values as the Step-3 report prints them; only compared with, never computed from. */

/** Table 2 (context 8192) and Table 3 (32768; linear and FFN FLOPs are those of Table 2), by model. */
export const TABLE_2_3: Readonly<Record<string, Table23Row>> = {
  'deepseek-v3': {
    kv_8k: 2.88e8,
    attention_8k: 1.47e11,
    linear: 2.28e10,
    ffn: 4.84e10,
    kv_32k: 1.15e9,
    attention_32k: 5.89e11,
  },
  'kimi-k2': {
    kv_8k: 2.88e8,
    attention_8k: 7.37e10,
    linear: 1.23e10,
    ffn: 4.84e10,
    kv_32k: 1.15e9,
    attention_32k: 2.95e11,
  },
  'qwen3-235b': {
    kv_8k: 7.89e8,
    attention_8k: 2.52e10,
    linear: 1.34e10,
    ffn: 2.84e10,
    kv_32k: 3.15e9,
    attention_32k: 1.01e11,
  },
  'qwen3-32b': {
    kv_8k: 1.07e9,
    attention_8k: 1.72e10,
    linear: 1.21e10,
    ffn: 5.03e10,
    kv_32k: 4.29e9,
    attention_32k: 6.87e10,
  },
  'llama4-maverick': {
    kv_8k: 1.01e9,
    attention_8k: 8.05e9,
    linear: 6.04e9,
    ffn: 2.42e10,
    kv_32k: 2.21e9,
    attention_32k: 1.41e10,
  },
  'minimax-m1': {
    kv_8k: 9.23e8,
    attention_8k: 3.42e9,
    linear: 3.75e10,
    ffn: 5.44e10,
    kv_32k: 1.93e9,
    attention_32k: 1.15e10,
  },
  'ernie-4.5': {
    kv_8k: 9.06e8,
    attention_8k: 1.45e10,
    linear: 1.63e10,
    ffn: 7.61e10,
    kv_32k: 3.62e9,
    attention_32k: 5.8e10,
  },
  'pangu-pro': {
    kv_8k: 8.05e8,
    attention_8k: 8.05e9,
    linear: 6.04e9,
    ffn: 2.38e10,
    kv_32k: 3.22e9,
    attention_32k: 3.22e10,
  },
  step3: {
    kv_8k: 2.56e8,
    attention_8k: 3.27e10,
    linear: 2.07e10,
    ffn: 5.33e10,
    kv_32k: 1.02e9,
    attention_32k: 1.31e11,
  },
};

/** Bytes of keys and values, and FLOPs. */
interface Table23Row {
  readonly kv_8k: number;
  readonly attention_8k: number;
  readonly linear: number;
  readonly ffn: number;
  readonly kv_32k: number;
  readonly attention_32k: number;
}

/** Table 5: dollars per FLOP and per byte, by hardware. */
export const TABLE_5: Readonly<Record<string, { readonly per_flop: number; readonly per_byte: number }>> = {
  h800: { per_flop: 2.8e-19, per_byte: 1.66e-16 },
  h20: { per_flop: 7.51e-19, per_byte: 5.56e-17 },
  a800: { per_flop: 6.68e-19, per_byte: 1.04e-16 },
  '910b': { per_flop: 6.65e-19, per_byte: 1.16e-16 },
};

/** Prices on H800, H20, A800 and 910B. */
type Prices = readonly [h800: number, h20: number, a800: number, ascend: number];

/** Table 6: dollars per million tokens, by model. */
export const TABLE_6: Readonly<
  Record<string, { readonly attention_8k: Prices; readonly attention_32k: Prices; readonly ffn: Prices }>
> = {
  'deepseek-v3': {
    attention_8k: [0.054, 0.128, 0.114, 0.113],
    attention_32k: [0.197, 0.46, 0.409, 0.407],
    ffn: [0.014, 0.036, 0.032, 0.032],
  },
  'kimi-k2': {
    attention_8k: [0.051, 0.065, 0.057, 0.057],
    attention_32k: [0.194, 0.231, 0.205, 0.204],
    ffn: [0.014, 0.036, 0.032, 0.032],
  },
  'qwen3-235b': {
    attention_8k: [0.135, 0.054, 0.091, 0.101],
    attention_32k: [0.527, 0.185, 0.338, 0.376],
    ffn: [0.008, 0.021, 0.019, 0.019],
  },
  'qwen3-32b': {
    attention_8k: [0.181, 0.069, 0.12, 0.133],
    attention_32k: [0.716, 0.248, 0.455, 0.508],
    ffn: [0.014, 0.038, 0.034, 0.033],
  },
  'llama4-maverick': {
    attention_8k: [0.169, 0.06, 0.109, 0.121],
    attention_32k: [0.369, 0.128, 0.235, 0.262],
    ffn: [0.007, 0.018, 0.016, 0.016],
  },
  'minimax-m1': {
    attention_8k: [0.164, 0.079, 0.121, 0.132],
    attention_32k: [0.33, 0.135, 0.226, 0.249],
    ffn: [0.015, 0.041, 0.036, 0.036],
  },
  'ernie-4.5': {
    attention_8k: [0.155, 0.063, 0.105, 0.116],
    attention_32k: [0.606, 0.214, 0.388, 0.432],
    ffn: [0.021, 0.057, 0.051, 0.051],
  },
  'pangu-pro': {
    attention_8k: [0.135, 0.049, 0.088, 0.098],
    attention_32k: [0.536, 0.183, 0.34, 0.379],
    ffn: [0.007, 0.018, 0.016, 0.016],
  },
  step3: {
    attention_8k: [0.048, 0.04, 0.04, 0.043],
    attention_32k: [0.176, 0.114, 0.12, 0.133],
    ffn: [0.015, 0.04, 0.036, 0.035],
  },
};

/** Totals of the introduction: dollars per million tokens on the best pairing. */
export const HEADLINES: Readonly<Record<string, { readonly at_8k: number; readonly at_32k: number }>> = {
  step3: { at_8k: 0.055, at_32k: 0.129 },
  'deepseek-v3': { at_8k: 0.068, at_32k: 0.211 },
  'qwen3-235b': { at_8k: 0.062, at_32k: 0.193 },
};

/** Table 7: least sparsity, by hardware. */
export const TABLE_7: Readonly<Record<string, number>> = {
  h800: 0.058,
  h20: 0.007,
  a800: 0.031,
  '910b': 0.034,
};

/**
 * Table 8 and §7.3: tokens per card and second of Step-3. 3A2F, 2A2F and 4A2F are measured peaks; 16A2F is extrapolated
 * from 2A2F, 3A4F from what the network carries.
 */
export const TABLE_8: Readonly<Record<'3A2F' | '2A2F' | '4A2F' | '16A2F' | '3A4F', number>> = {
  '3A2F': 3321,
  '2A2F': 4039,
  '4A2F': 2643,
  '16A2F': 898,
  '3A4F': 3291,
};

/** Table 9: measured microseconds of an attention layer at contexts of 8192 and 32768, by model and hardware. */
export const TABLE_9: Readonly<
  Record<string, Readonly<Record<string, { readonly at_8k: number; readonly at_32k: number }>>>
> = {
  step3: {
    h800: { at_8k: 281, at_32k: 791 },
    h20: { at_8k: 438, at_32k: 1452 },
    a800: { at_8k: 531, at_32k: 1484 },
  },
  'deepseek-v3': { h800: { at_8k: 372, at_32k: 1125 }, h20: { at_8k: 1252, at_32k: 4817 } },
  'qwen3-235b': {
    h800: { at_8k: 382, at_32k: 1391 },
    h20: { at_8k: 812, at_32k: 3042 },
    a800: { at_8k: 791, at_32k: 3010 },
  },
};

// Writes a GGUF of Step-3.5's architecture with random weights, for timing programs that read such files
// (after npm run build):
//
//   node bench/peers/synthetic_gguf.mjs OUT.gguf [--type f16|q8_0|q4_k] [--small]
//
// Every layer has experts; every fourth, from the first, full attention, the others a window of 512, with the same heads.
// Norms, the router and its bias are f32; every other matrix has the chosen type. Quantised blocks are random bytes with
// scales that keep weights near a deviation of 0.02.
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { parseArgs } from 'node:util';
import { encodeWeights } from '../../dist/tensor.js';
import { align, encodeGgufHeader, ggufBytes } from '../../dist/weights/gguf_writer.js';

/** @typedef {typeof SIZES & { type: Format }} Options */
/** @typedef {'f32' | 'f16' | 'q8_0' | 'q4_k'} Format */
/** @typedef {import('../../dist/weights/gguf_writer.js').TypedValue} TypedValue */

/** Metadata types as the writer calls them. */
const NAMES = /** @type {const} */ ({
  u32: 'uint32',
  i32: 'int32',
  f32: 'float32',
  bool: 'bool',
  string: 'string',
});

/** Standard deviation of the weights. */
const DEVIATION = 0.02;

/**
 * The key/value pairs that describe the model.
 *
 * @param {Options} o
 * @returns {Map<string, TypedValue>}
 */
function metadata(o) {
  /** @type {Map<string, TypedValue>} */
  const pairs = new Map();
  /** @param {string} key @param {'string' | 'u32' | 'f32' | 'bool'} type @param {string | number | boolean} value */
  const put = (key, type, value) => pairs.set(key, { type: NAMES[type], value });
  /** @param {string} key @param {keyof typeof NAMES} of @param {readonly (string | number | boolean)[]} values */
  const list = (key, of, values) => pairs.set(key, { type: 'array', of: NAMES[of], values });
  const layers = Array.from({ length: o.layers }, (_, n) => n);
  const tokens = tokenStrings(o.vocab);
  put('general.architecture', 'string', 'step35');
  put('general.name', 'string', 'synthetic');
  put('step35.block_count', 'u32', o.layers);
  put('step35.context_length', 'u32', 65536);
  put('step35.embedding_length', 'u32', o.hidden);
  put('step35.feed_forward_length', 'u32', 4 * o.expertDim);
  list(
    'step35.attention.head_count',
    'u32',
    layers.map(() => o.heads),
  );
  list(
    'step35.attention.head_count_kv',
    'u32',
    layers.map(() => o.kvHeads),
  );
  put('step35.attention.key_length', 'u32', o.headDim);
  put('step35.attention.value_length', 'u32', o.headDim);
  put('step35.attention.layer_norm_rms_epsilon', 'f32', 1e-5);
  put('step35.attention.sliding_window', 'u32', 512);
  list(
    'step35.attention.sliding_window_pattern',
    'bool',
    layers.map((n) => n % 4 !== 0),
  );
  put('step35.rope.freq_base', 'f32', 5e6);
  put('step35.rope.freq_base_swa', 'f32', 1e4);
  put('step35.rope.dimension_count', 'u32', o.headDim);
  put('step35.expert_count', 'u32', o.experts);
  put('step35.expert_used_count', 'u32', o.topK);
  put('step35.expert_feed_forward_length', 'u32', o.expertDim);
  put('step35.expert_shared_feed_forward_length', 'u32', o.expertDim);
  put('step35.expert_weights_scale', 'f32', 3);
  put('step35.expert_weights_norm', 'bool', true);
  put('step35.expert_gating_func', 'u32', 2);
  put('step35.leading_dense_block_count', 'u32', 0);
  put('step35.moe_every_n_layers', 'u32', 1);
  list(
    'step35.swiglu_clamp_exp',
    'f32',
    layers.map(() => 0),
  );
  list(
    'step35.swiglu_clamp_shexp',
    'f32',
    layers.map(() => 0),
  );
  put('tokenizer.ggml.model', 'string', 'gpt2');
  put('tokenizer.ggml.pre', 'string', 'deepseek-v3');
  list('tokenizer.ggml.tokens', 'string', tokens);
  list(
    'tokenizer.ggml.token_type',
    'i32',
    tokens.map((_, i) => (i < 2 ? 3 : 1)),
  );
  list('tokenizer.ggml.merges', 'string', ['a b']);
  put('tokenizer.ggml.bos_token_id', 'u32', 0);
  put('tokenizer.ggml.eos_token_id', 'u32', 1);
  return pairs;
}

/**
 * Two special tokens, the 256 bytes as byte-level BPE writes them, then made-up words.
 *
 * @param {number} vocab
 */
function tokenStrings(vocab) {
  /** @param {number} b */
  const printable = (b) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  let extra = 256;
  const bytes = Array.from({ length: 256 }, (_, b) => String.fromCodePoint(printable(b) ? b : extra++));
  const words = Array.from({ length: Math.max(0, vocab - 258) }, (_, i) => `w${i}`);
  return ['<s>', '</s>', ...bytes, ...words].slice(0, vocab);
}

/**
 * Every tensor, the outermost size first.
 *
 * @param {Options} o
 */
function tensors(o) {
  /** @type {{ name: string, format: Format, shape: number[] }[]} */
  const list = [];
  /** @param {string} name @param {Format} format @param {number[]} shape */
  const put = (name, format, ...shape) => list.push({ name: `${name}.weight`, format, shape });
  put('token_embd', o.type, o.vocab, o.hidden);
  put('output_norm', 'f32', o.hidden);
  put('output', o.type, o.vocab, o.hidden);
  put('rope_freqs', 'f32', o.headDim / 2);
  for (let n = 0; n < o.layers; n++) {
    const at = `blk.${n}.`;
    put(`${at}attn_norm`, 'f32', o.hidden);
    put(`${at}attn_q`, o.type, o.heads * o.headDim, o.hidden);
    put(`${at}attn_k`, o.type, o.kvHeads * o.headDim, o.hidden);
    put(`${at}attn_v`, o.type, o.kvHeads * o.headDim, o.hidden);
    put(`${at}attn_q_norm`, 'f32', o.headDim);
    put(`${at}attn_k_norm`, 'f32', o.headDim);
    put(`${at}attn_gate`, o.type, o.heads, o.hidden);
    put(`${at}attn_output`, o.type, o.hidden, o.heads * o.headDim);
    put(`${at}ffn_norm`, 'f32', o.hidden);
    put(`${at}ffn_gate_inp`, 'f32', o.experts, o.hidden);
    list.push({ name: `${at}exp_probs_b.bias`, format: 'f32', shape: [o.experts] });
    put(`${at}ffn_gate_exps`, o.type, o.experts, o.expertDim, o.hidden);
    put(`${at}ffn_up_exps`, o.type, o.experts, o.expertDim, o.hidden);
    put(`${at}ffn_down_exps`, o.type, o.experts, o.hidden, o.expertDim);
    put(`${at}ffn_gate_shexp`, o.type, o.expertDim, o.hidden);
    put(`${at}ffn_up_shexp`, o.type, o.expertDim, o.hidden);
    put(`${at}ffn_down_shexp`, o.type, o.hidden, o.expertDim);
  }
  return list;
}

/**
 * A seeded generator of 32-bit numbers (xorshift).
 *
 * @param {number} seed
 */
function generator(seed) {
  let s = seed;
  return () => {
    s ^= s << 13;
    s ^= s >>> 17;
    s ^= s << 5;
    return s >>> 0;
  };
}

/** @param {() => number} next @returns uniform in ±sqrt(3) deviations */
const uniform = (next) => (next() / 2 ** 31 - 1) * DEVIATION * Math.sqrt(3);

/**
 * `blocks` blocks of random weights.
 *
 * @param {Format} format
 * @param {number} blocks
 * @param {() => number} next
 */
function randomBlocks(format, blocks, next) {
  if (format === 'f16')
    return encodeWeights(
      'f16',
      Array.from({ length: blocks }, () => uniform(next)),
    );
  const bytes = format === 'q8_0' ? 34 : 144;
  const out = Buffer.alloc(blocks * bytes);
  for (let i = 0; i + 4 <= out.length; i += 4) out.writeUInt32LE(next(), i);
  /** @param {number} value @param {number} at */
  const half = (value, at) => out.set(encodeWeights('f16', [value]), at);
  for (let at = 0; at < out.length; at += bytes) {
    if (format === 'q8_0') half(DEVIATION / 74, at);
    else {
      // 6-bit scales and minima average 32, values 7.5: minima 7.5 scales deep keep the mean near zero.
      half(DEVIATION / 170, at);
      half((DEVIATION / 170) * 7.5, at + 2);
    }
  }
  return out;
}

/**
 * Norms and rotary divisors are 1, biases 0; the router is random.
 *
 * @param {string} name
 * @param {number} count
 * @param {() => number} next
 */
function plainValues(name, count, next) {
  const values = new Float32Array(count);
  if (name.includes('norm') || name.startsWith('rope_freqs')) values.fill(1);
  else if (!name.endsWith('bias')) for (let i = 0; i < count; i++) values[i] = uniform(next);
  return Buffer.from(values.buffer);
}

/**
 * Writes the file; returns how many bytes it has.
 *
 * @param {string} path
 * @param {Options} options
 */
export async function writeSyntheticGguf(path, options) {
  const next = generator(12345);
  const list = tensors(options);
  const file = createWriteStream(path, { highWaterMark: 2 ** 24 });
  let total = 0;
  /** @param {Uint8Array} bytes */
  const write = async (bytes) => {
    total += bytes.length;
    if (!file.write(bytes)) await once(file, 'drain');
  };
  await write(encodeGgufHeader(metadata(options), list));
  // One piece of random blocks is repeated: making gigabytes of them would take longer than the comparison.
  const piece = options.type === 'f32' ? Buffer.alloc(0) : randomBlocks(options.type, 2 ** 16 - 17, next);
  for (const tensor of list) {
    const bytes = ggufBytes(tensor);
    if (tensor.format === 'f32') await write(plainValues(tensor.name, bytes / 4, next));
    else
      for (let at = 0; at < bytes; at += piece.length)
        await write(piece.subarray(0, Math.min(piece.length, bytes - at)));
    await write(Buffer.alloc(align(bytes) - bytes));
  }
  file.end();
  await once(file, 'close');
  return total;
}

/** Sizes of the model that the comparison is made with. */
export const SIZES = {
  layers: 4,
  hidden: 4096,
  heads: 64,
  kvHeads: 8,
  headDim: 128,
  experts: 32,
  topK: 8,
  expertDim: 1280,
  vocab: 32000,
};

/** The same architecture at a size for trying out. */
export const SMALL = {
  layers: 2,
  hidden: 512,
  heads: 8,
  kvHeads: 2,
  headDim: 128,
  experts: 8,
  topK: 4,
  expertDim: 256,
  vocab: 1000,
};

if (import.meta.url === `file://${process.argv[1]}`) {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { type: { type: 'string', default: 'f16' }, small: { type: 'boolean', default: false } },
  });
  const type = /** @type {Format} */ (values.type);
  const bytes = await writeSyntheticGguf(positionals[0], { ...(values.small ? SMALL : SIZES), type });
  console.log(`${positionals[0]}: ${(bytes / 2 ** 20).toFixed(0)} MiB`);
}

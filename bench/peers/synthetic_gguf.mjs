// Writes a GGUF of Step-3.5's architecture with random weights, for timing programs that read such files:
//
//   node bench/peers/synthetic_gguf.mjs OUT.gguf [--type f16|q8_0|q4_k] [--layers 4] [--hidden 4096] [--heads 64]
//        [--kv-heads 8] [--head-dim 128] [--experts 32] [--top-k 8] [--expert-dim 1280] [--vocab 32000]
//
// Every layer has experts; every fourth, from the first, full attention, the others a window of 512, with the same heads. Norms, the router and its bias are f32; embedding and head have the chosen
// type, as every other matrix. Quantised blocks are random bytes with scales that keep weights near a deviation of 0.02.

import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { parseArgs } from 'node:util';

const ALIGNMENT = 32;
const KV = { u32: 4, f32: 6, bool: 7, string: 8, array: 9 };
const DEVIATION = 0.02;

/** Number of ggml type, weights and bytes of a block, and what makes a block. */
const TYPES = {
  f32: { id: 0, weights: 1, bytes: 4 },
  f16: { id: 1, weights: 1, bytes: 2 },
  q8_0: { id: 8, weights: 32, bytes: 34 },
  q4_k: { id: 12, weights: 256, bytes: 144 },
};

/** Little-endian bytes of GGUF metadata. */
class Bytes {
  parts = [];
  length = 0;
  push(bytes) {
    this.parts.push(bytes);
    this.length += bytes.length;
  }
  u32(value) {
    const b = Buffer.alloc(4);
    b.writeUInt32LE(value);
    this.push(b);
  }
  u64(value) {
    const b = Buffer.alloc(8);
    b.writeBigUInt64LE(BigInt(value));
    this.push(b);
  }
  f32(value) {
    const b = Buffer.alloc(4);
    b.writeFloatLE(value);
    this.push(b);
  }
  string(value) {
    const b = Buffer.from(value, 'utf8');
    this.u64(b.length);
    this.push(b);
  }
  /** One value of type `type`; arrays are `[element type, ...values]`. */
  value(type, value) {
    if (type === 'array') {
      const [of, ...values] = value;
      this.u32(KV[of]);
      this.u64(values.length);
      for (const v of values) this.value(of, v);
    } else if (type === 'bool') this.push(Buffer.from([value ? 1 : 0]));
    else this[type](value);
  }
}

/** The key/value pairs that describe the model. */
function metadata(o) {
  const p = (key, type, value) => [`step35.${key}`, type, value];
  const each = (type, value) => [type, ...Array.from({ length: o.layers }, () => value)];
  return [
    ['general.architecture', 'string', 'step35'],
    ['general.name', 'string', 'synthetic'],
    p('block_count', 'u32', o.layers),
    p('context_length', 'u32', 65536),
    p('embedding_length', 'u32', o.hidden),
    p('feed_forward_length', 'u32', 4 * o.expertDim),
    p('attention.head_count', 'array', each('u32', o.heads)),
    p('attention.head_count_kv', 'array', each('u32', o.kvHeads)),
    p('attention.key_length', 'u32', o.headDim),
    p('attention.value_length', 'u32', o.headDim),
    p('attention.layer_norm_rms_epsilon', 'f32', 1e-5),
    p('attention.sliding_window', 'u32', 512),
    p('attention.sliding_window_pattern', 'array', [
      'bool',
      ...Array.from({ length: o.layers }, (_, n) => n % 4 !== 0),
    ]),
    p('rope.freq_base', 'f32', 5e6),
    p('rope.freq_base_swa', 'f32', 1e4),
    p('rope.dimension_count', 'u32', o.headDim),
    p('expert_count', 'u32', o.experts),
    p('expert_used_count', 'u32', o.topK),
    p('expert_feed_forward_length', 'u32', o.expertDim),
    p('expert_shared_feed_forward_length', 'u32', o.expertDim),
    p('expert_weights_scale', 'f32', 3),
    p('expert_weights_norm', 'bool', true),
    p('expert_gating_func', 'u32', 2),
    p('leading_dense_block_count', 'u32', 0),
    p('moe_every_n_layers', 'u32', 1),
    p('swiglu_clamp_exp', 'array', each('f32', 0)),
    p('swiglu_clamp_shexp', 'array', each('f32', 0)),
    ['tokenizer.ggml.model', 'string', 'gpt2'],
    ['tokenizer.ggml.pre', 'string', 'deepseek-v3'],
    ['tokenizer.ggml.tokens', 'array', ['string', ...tokenStrings(o.vocab)]],
    ['tokenizer.ggml.token_type', 'array', ['i32', ...tokenStrings(o.vocab).map((_, i) => (i < 2 ? 3 : 1))]],
    ['tokenizer.ggml.merges', 'array', ['string', 'a b']],
    ['tokenizer.ggml.bos_token_id', 'u32', 0],
    ['tokenizer.ggml.eos_token_id', 'u32', 1],
  ];
}
KV.i32 = 5;
Bytes.prototype.i32 = Bytes.prototype.u32;

/** Two special tokens, the 256 bytes as byte-level BPE writes them, then made-up words. */
function tokenStrings(vocab) {
  const printable = (b) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  let extra = 256;
  const bytes = Array.from({ length: 256 }, (_, b) => String.fromCodePoint(printable(b) ? b : extra++));
  const words = Array.from({ length: Math.max(0, vocab - 258) }, (_, i) => `w${i}`);
  return ['<s>', '</s>', ...bytes, ...words].slice(0, vocab);
}

/** [name, type, ...sizes, the innermost first]. */
function tensors(o) {
  const list = [
    ['token_embd.weight', o.type, o.hidden, o.vocab],
    ['output_norm.weight', 'f32', o.hidden],
    ['output.weight', o.type, o.hidden, o.vocab],
    ['rope_freqs.weight', 'f32', o.headDim / 2],
  ];
  for (let n = 0; n < o.layers; n++) {
    const b = (name, ...rest) => list.push([`blk.${n}.${name}`, ...rest]);
    b('attn_norm.weight', 'f32', o.hidden);
    b('attn_q.weight', o.type, o.hidden, o.heads * o.headDim);
    b('attn_k.weight', o.type, o.hidden, o.kvHeads * o.headDim);
    b('attn_v.weight', o.type, o.hidden, o.kvHeads * o.headDim);
    b('attn_q_norm.weight', 'f32', o.headDim);
    b('attn_k_norm.weight', 'f32', o.headDim);
    b('attn_gate.weight', o.type, o.hidden, o.heads);
    b('attn_output.weight', o.type, o.heads * o.headDim, o.hidden);
    b('ffn_norm.weight', 'f32', o.hidden);
    b('ffn_gate_inp.weight', 'f32', o.hidden, o.experts);
    b('exp_probs_b.bias', 'f32', o.experts);
    b('ffn_gate_exps.weight', o.type, o.hidden, o.expertDim, o.experts);
    b('ffn_up_exps.weight', o.type, o.hidden, o.expertDim, o.experts);
    b('ffn_down_exps.weight', o.type, o.expertDim, o.hidden, o.experts);
    b('ffn_gate_shexp.weight', o.type, o.hidden, o.expertDim);
    b('ffn_up_shexp.weight', o.type, o.hidden, o.expertDim);
    b('ffn_down_shexp.weight', o.type, o.expertDim, o.hidden);
  }
  return list;
}

/** A seeded generator of 32-bit numbers (xorshift). */
function generator(seed) {
  let s = seed;
  return () => {
    s ^= s << 13;
    s ^= s >>> 17;
    s ^= s << 5;
    return s >>> 0;
  };
}

function half(value) {
  const f = new Float32Array([value]);
  const bits = new Uint32Array(f.buffer)[0];
  const exponent = ((bits >>> 23) & 0xff) - 112;
  return exponent <= 0 ? 0 : ((bits >>> 16) & 0x8000) | (exponent << 10) | ((bits >>> 13) & 0x3ff);
}

/** `blocks` blocks of random weights of a type. */
function randomBlocks(type, blocks, next) {
  const { bytes } = TYPES[type];
  const out = Buffer.alloc(blocks * bytes);
  if (type === 'f16') {
    const numbers = new Uint16Array(out.buffer, out.byteOffset, blocks);
    // Uniform of the same deviation.
    for (let i = 0; i < blocks; i++) numbers[i] = half((next() / 2 ** 31 - 1) * DEVIATION * Math.sqrt(3));
    return out;
  }
  for (let i = 0; i + 4 <= out.length; i += 4) out.writeUInt32LE(next(), i);
  for (let b = 0; b < blocks; b++) {
    const at = b * bytes;
    if (type === 'q8_0') out.writeUInt16LE(half((DEVIATION / 74) * (1 + (b % 3) / 8)), at);
    else {
      // 6-bit scales and minima average 32, values 7.5: minima 7.5 scales deep keep the mean near zero.
      out.writeUInt16LE(half(DEVIATION / 170), at);
      out.writeUInt16LE(half((DEVIATION / 170) * 7.5), at + 2);
    }
  }
  return out;
}

/** Norms are 1, biases 0, rotary divisors 1; the router is random. */
function plainValues(name, count, next) {
  const values = new Float32Array(count);
  if (name.includes('norm') || name === 'rope_freqs.weight') values.fill(1);
  else if (!name.endsWith('bias'))
    for (let i = 0; i < count; i++) values[i] = (next() / 2 ** 31 - 1) * DEVIATION;
  return Buffer.from(values.buffer);
}

const aligned = (n) => Math.ceil(n / ALIGNMENT) * ALIGNMENT;

/** Writes the file; returns how many bytes it has. */
export async function writeSyntheticGguf(path, options) {
  const next = generator(12345);
  const list = tensors(options).map(([name, type, ...sizes]) => {
    const count = sizes.reduce((a, b) => a * b, 1);
    const { weights, bytes } = TYPES[type];
    if (sizes[0] % weights !== 0)
      throw new Error(`${name}: rows of ${sizes[0]} are not whole blocks of ${type}`);
    return { name, type, sizes, blocks: count / weights, bytes: (count / weights) * bytes };
  });
  const head = new Bytes();
  head.push(Buffer.from('GGUF'));
  head.u32(3);
  const pairs = metadata(options);
  head.u64(list.length);
  head.u64(pairs.length);
  for (const [key, type, value] of pairs) {
    head.string(key);
    head.u32(KV[type]);
    head.value(type, value);
  }
  let offset = 0;
  for (const tensor of list) {
    head.string(tensor.name);
    head.u32(tensor.sizes.length);
    for (const size of tensor.sizes) head.u64(size);
    head.u32(TYPES[tensor.type].id);
    head.u64(offset);
    offset += aligned(tensor.bytes);
  }
  const file = createWriteStream(path, { highWaterMark: 2 ** 24 });
  const write = async (bytes) => {
    if (!file.write(bytes)) await once(file, 'drain');
  };
  await write(Buffer.concat(head.parts));
  await write(Buffer.alloc(aligned(head.length) - head.length));
  // One piece of random blocks is repeated: making gigabytes of them would take longer than the comparison.
  const pieces = new Map();
  for (const { name, type, blocks, bytes } of list) {
    if (type === 'f32') await write(plainValues(name, blocks, next));
    else {
      if (!pieces.has(type)) pieces.set(type, randomBlocks(type, 2 ** 16 - 17, next));
      const piece = pieces.get(type);
      for (let done = 0; done < bytes; done += piece.length)
        await write(piece.subarray(0, Math.min(piece.length, bytes - done)));
    }
    await write(Buffer.alloc(aligned(bytes) - bytes));
  }
  file.end();
  await once(file, 'close');
  return aligned(head.length) + offset;
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

if (import.meta.url === `file://${process.argv[1]}`) {
  const names = Object.keys(SIZES);
  const flag = (name) => name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`);
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      type: { type: 'string', default: 'f16' },
      ...Object.fromEntries(names.map((n) => [flag(n), { type: 'string' }])),
    },
  });
  const options = { type: values.type, ...SIZES };
  for (const n of names) if (values[flag(n)] !== undefined) options[n] = Number(values[flag(n)]);
  const bytes = await writeSyntheticGguf(positionals[0], options);
  console.log(`${positionals[0]}: ${(bytes / 2 ** 20).toFixed(0)} MiB`);
}

// Speed of llama.cpp's Vulkan backend and of this project on the same GGUF files, one after the other, decoding and reading prompts:
//
//   node bench/peers/llama_cpp.mjs --peer FOLDER [--types f16,q8_0,q4_k] [--tokens 256] [--prompts 512,2048]
//     [--files FOLDER] [--json]
//
// --small takes a small model, and llama.cpp's CPU backend; --converted makes quantised files with `step3 convert`, to see
// whether llama.cpp reads them and gives the same tokens.
//
// FOLDER is one where `npm install node-llama-cpp` was run (its own program, built; this project does not depend on it).
// The files are written by synthetic_gguf.mjs. Time is wall clock between tokens that come out one after the other, greedy,
// batch 1, after a prompt of 16 tokens; the median, over the tokens after the first 32, of the time that 16 tokens take, by 16.
// Longer prompts: wall clock until the first token after them, the median of three, after one that is not counted.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { SIZES, SMALL, writeSyntheticGguf } from './synthetic_gguf.mjs';

const WARM_UP = 32;
/** Tokens over which a time per token is taken. */
const WINDOW = 16;
const PROMPT = Array.from({ length: 16 }, (_, i) => 300 + 17 * i);
/** Times that a longer prompt is read, the first of which is not counted. */
const ROUNDS = 4;

const { values: args } = parseArgs({
  options: {
    peer: { type: 'string' },
    types: { type: 'string', default: 'f16,q8_0,q4_k' },
    tokens: { type: 'string', default: '256' },
    prompts: { type: 'string', default: '512,2048' },
    files: { type: 'string', default: join(tmpdir(), 'step3-peers') },
    small: { type: 'boolean', default: false },
    converted: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});
const count = Number(args.tokens);
const sizes = args.small ? SMALL : SIZES;
const prompts = args.prompts.split(',').filter(Boolean).map(Number);
const contextSize = Math.max(1024, ...prompts.map((length) => length + 16));

/**
 * Takes `count` tokens and returns their ids and milliseconds a token.
 *
 * @param {AsyncIterable<number>} tokens
 */
async function timed(tokens) {
  /** @type {number[]} */
  const ids = [];
  /** @type {number[]} */
  const times = [];
  for await (const id of tokens) {
    ids.push(id);
    times.push(performance.now());
    if (ids.length === count) break;
  }
  const first = Math.min(WARM_UP, times.length >> 1);
  const counted = times.slice(first);
  // Tokens may come in groups.
  const wide = Math.min(WINDOW, counted.length - 1);
  const gaps = counted.slice(wide).map((t, i) => (t - counted[i]) / wide);
  const mean = (counted[counted.length - 1] - counted[0]) / (counted.length - 1);
  gaps.sort((a, b) => a - b);
  return { ids, median: gaps[gaps.length >> 1], mean };
}

/**
 * Milliseconds until the first token after each of the longer prompts, whose tokens are from all over the vocabulary.
 *
 * @param {(prompt: number[]) => AsyncIterable<number>} read
 */
async function reading(read) {
  /** @type {number[]} */
  const medians = [];
  for (const length of prompts) {
    const prompt = Array.from({ length }, (_, i) => 300 + ((i * 7919) % (sizes.vocab - 300)));
    /** @type {number[]} */
    const times = [];
    for (let round = 0; round < ROUNDS; round++) {
      const begin = performance.now();
      for await (const _ of read(prompt)) break;
      times.push(performance.now() - begin);
    }
    const counted = times.slice(1).sort((a, b) => a - b);
    medians.push(counted[counted.length >> 1]);
  }
  return medians;
}

/** @param {string} path @param {string} folder */
async function llamaCpp(path, folder) {
  const entry = createRequire(join(resolve(folder), 'package.json')).resolve('node-llama-cpp');
  const { getLlama } = await import(pathToFileURL(entry).href);
  const llama = await getLlama({
    gpu: args.small ? false : 'vulkan',
    build: 'never',
    skipDownload: true,
    logLevel: 'error',
  });
  const model = await llama.loadModel({ modelPath: path, gpuLayers: args.small ? 0 : 'max' });
  const context = await model.createContext({ contextSize, batchSize: 2048, flashAttention: true });
  const options = { temperature: 0, yieldEogToken: true };
  const sequence = context.getSequence();
  const result = await timed(sequence.evaluate(PROMPT, options));
  const read = async function* (/** @type {number[]} */ prompt) {
    await sequence.clearHistory();
    yield* sequence.evaluate(prompt, options);
  };
  const prefill = await reading(read);
  await llama.dispose();
  return { ...result, prefill, device: (await Promise.resolve(llama.gpu)) || 'cpu' };
}

/** @param {string} path */
async function ours(path) {
  const { loadModel } = await import(new URL('../../dist/index.js', import.meta.url).href);
  const model = await loadModel(path, { maxContext: contextSize });
  const ids = async function* (/** @type {number[]} */ prompt, /** @type {number} */ maxTokens) {
    for await (const { token } of model.generate(prompt, { maxTokens, temperature: 0, stopTokens: [] }))
      yield token;
  };
  // The first run compiles kernels.
  for await (const _ of ids(PROMPT, count));
  const result = await timed(ids(PROMPT, count));
  const prefill = await reading((prompt) => ids(prompt, 1));
  model.dispose();
  return { ...result, prefill };
}

/**
 * Length of the common beginning.
 *
 * @param {number[]} a
 * @param {number[]} b
 */
function agreement(a, b) {
  const differ = a.findIndex((id, i) => id !== b[i]);
  return differ < 0 ? a.length : differ;
}

/**
 * The file of a type, written if it does not exist.
 *
 * @param {import('./synthetic_gguf.mjs').Format} type
 */
async function fileOf(type) {
  const converted = args.converted && type !== 'f16';
  const name = `${converted ? 'converted' : 'synthetic'}-${type}${args.small ? '-small' : ''}.gguf`;
  const path = join(args.files, name);
  if (existsSync(path)) return path;
  console.error(`writing ${path}`);
  if (converted) {
    const cli = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));
    const from = await fileOf('f16');
    execFileSync(process.execPath, [cli, 'convert', '--model', from, '--to', type, '--output', path]);
  } else await writeSyntheticGguf(path, { ...sizes, type });
  return path;
}

mkdirSync(args.files, { recursive: true });
const results = [];
for (const type of /** @type {import('./synthetic_gguf.mjs').Format[]} */ (args.types.split(','))) {
  const path = await fileOf(type);
  const peer = args.peer === undefined ? undefined : await llamaCpp(path, args.peer);
  const own = await ours(path);
  const row = {
    type,
    ours_ms: own.median,
    ours_mean_ms: own.mean,
    llama_cpp_ms: peer?.median,
    llama_cpp_mean_ms: peer?.mean,
    ratio: peer === undefined ? undefined : peer.mean / own.mean,
    same_tokens: peer && agreement(own.ids, peer.ids),
    peer_backend: peer?.device,
    prompts: prompts.map((tokens, i) => ({
      tokens,
      ours_ms: own.prefill[i],
      llama_cpp_ms: peer?.prefill[i],
      ratio: peer === undefined ? undefined : peer.prefill[i] / own.prefill[i],
    })),
  };
  results.push(row);
  console.error(
    `${type}: ours ${own.mean.toFixed(3)} ms a token` +
      (peer
        ? `, llama.cpp (${peer.device}) ${peer.mean.toFixed(3)} ms: ${(peer.mean / own.mean).toFixed(2)} times as fast; first ${row.same_tokens} tokens equal`
        : ''),
  );
  for (const { tokens, ours_ms, llama_cpp_ms, ratio } of row.prompts) {
    console.error(
      `  prompt of ${tokens}: ours ${ours_ms.toFixed(1)} ms` +
        (ratio === undefined
          ? ''
          : `, llama.cpp ${llama_cpp_ms?.toFixed(1)} ms: ${ratio.toFixed(2)} times as fast`),
    );
  }
}
console.log(JSON.stringify({ sizes, tokens: count, results }));
process.exit(0);

// What `deterministic` costs: prefill and decode of a synthetic model with and without it, in one process.
// Usage: node bench/deterministic.mjs [preset] [prompt tokens] [new tokens]   (after npm run build)
// The last line is one JSON object.
import { loadModel, preset, syntheticCheckpoint } from '../dist/index.js';

const [name = 'step3-small', promptTokens = '512', newTokens = '128'] = process.argv.slice(2);
const checkpoint = syntheticCheckpoint(preset(name), 1);
const prompt = Array.from(
  { length: Number(promptTokens) },
  (_, i) => (i * 7919) % checkpoint.config.vocab_size,
);

/** @param {readonly number[]} values */
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

/** @type {{ deterministic: boolean, adapter: string, prefillTokensPerSecond: number, tpotMs: number }[]} */
const rows = [];
for (const deterministic of [false, true]) {
  const model = await loadModel(checkpoint, { deterministic, maxContext: 1024, selfTest: false });
  const prefill = [];
  const steps = [];
  // The first round compiles what it needs and is not counted.
  for (let round = 0; round < 4; round++) {
    const run = model.generate(prompt, { maxTokens: Number(newTokens), stopTokens: [] });
    let next = await run.next();
    while (next.done !== true) next = await run.next();
    if (round === 0) continue;
    prefill.push(next.value.prefillMs);
    steps.push(...next.value.stepMs);
  }
  rows.push({
    deterministic,
    adapter: model.executor.name,
    prefillTokensPerSecond: (prompt.length / median(prefill)) * 1000,
    tpotMs: median(steps),
  });
  model.dispose();
  console.log(JSON.stringify(rows.at(-1)));
}
const [free, fixed] = rows;
console.log(
  JSON.stringify({
    preset: name,
    promptTokens: prompt.length,
    newTokens: Number(newTokens),
    prefillSlowdown: free.prefillTokensPerSecond / fixed.prefillTokensPerSecond,
    decodeSlowdown: fixed.tpotMs / free.tpotMs,
    rows,
  }),
);
process.exit(0);

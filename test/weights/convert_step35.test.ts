/** Step-3.5-Flash in every format: prediction blocks, centred norms and rope scaling come back. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PRESETS, type Step35Config } from '../../src/config/index.ts';
import { openModelSource } from '../../src/runtime/load_model.ts';
import type { Checkpoint } from '../../src/weights/checkpoint.ts';
import { convertCheckpoint } from '../../src/weights/convert_node.ts';
import { floatBands } from '../../src/weights/floats.ts';
import { memorySource } from '../../src/weights/source.ts';
import { syntheticCheckpoint } from '../../src/weights/synthetic.ts';

const CONFIG: Step35Config = {
  ...(PRESETS['step35-tiny'] as Step35Config),
  // No limit is a 32-bit float exactly, as in most configurations.
  rms_norm_eps: 1e-6,
};

let folder: string;
const source = syntheticCheckpoint(CONFIG, 5, 'f32');
const NONE = memorySource('none', new Map());

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'step35-convert-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function values(checkpoint: Checkpoint, name: string): Promise<number[]> {
  const all: number[] = [];
  for await (const band of floatBands(checkpoint.weights.get(name)!)) all.push(...band.values);
  return all;
}

describe.each(['bf16', 'fp8', 'int4', 'q8_0', 'q4_0', 'q4_k'] as const)('step35 to %s', (target) => {
  it('keeps configuration, norms, routers and biases', async () => {
    const gguf = target.startsWith('q');
    const path = join(folder, gguf ? `${target}.gguf` : target);
    await convertCheckpoint(source, NONE, target, path);
    const { checkpoint } = await openModelSource(path);
    const torch_dtype = gguf ? undefined : 'bf16';
    expect(checkpoint.config).toEqual({ ...CONFIG, torch_dtype, zero_centered: !gguf });
    expect([...checkpoint.weights.keys()]).toEqual([...source.weights.keys()]);
    for (const [name, { shape, format }] of checkpoint.weights) {
      expect(shape).toEqual(source.weights.get(name)!.shape);
      if (!/norm\.weight$|layernorm|router_bias|moe\.gate\./.test(name)) continue;
      expect(format).toBe(gguf || name.endsWith('router_bias') ? 'f32' : 'bf16');
      const plus = gguf && /norm/.test(name) ? 1 : 0;
      const before = await values(source, name);
      for (const [i, value] of (await values(checkpoint, name)).entries()) {
        if (format === 'f32') expect(value).toBe(Math.fround(before[i] + plus));
        else expect(Math.abs(value - before[i])).toBeLessThanOrEqual(Math.abs(before[i]) / 256);
      }
    }
    const formats = new Set(
      Array.from(checkpoint.weights, ([name, { format }]) => (/moe\.up_proj/.test(name) ? format : '')),
    );
    expect(formats.size).toBe(2);
    await checkpoint.close();
  });
});

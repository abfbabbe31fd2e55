/** Seeded damage to small files of every kind: whatever the bytes, only a typed error comes out, or a valid checkpoint. */
import { afterAll, describe, expect, it } from 'vitest';
import { configToJson, parseConfig, parseQuantization } from '../../src/config/index.ts';
import { Step3Error } from '../../src/errors.ts';
import { openCheckpoint } from '../../src/weights/checkpoint.ts';
import { readGguf } from '../../src/weights/gguf.ts';
import { ggufConfig, readArch } from '../../src/weights/gguf_config.ts';
import { Metadata } from '../../src/weights/gguf_metadata.ts';
import { ggufTexts } from '../../src/weights/gguf_tokenizer.ts';
import { parseIndex } from '../../src/weights/index_file.ts';
import { parseStrictJson } from '../../src/weights/json.ts';
import { encodeSafetensors, readHeader } from '../../src/weights/safetensors.ts';
import { memoryFile, memorySource } from '../../src/weights/source.ts';
import { ggufFile, STEP3, STEP35, step3Tensors, str, texts, u32 } from './gguf_support.ts';
import { TINY, text } from './support.ts';

const MiB = 2 ** 20;

/** Bytes that matter to JSON, and some that matter to lengths. */
const BYTES = [...text('{}[]",:\\0123456789-+.eE nulltruefalse'), 0, 1, 2, 8, 9, 0x7f, 0x80, 0xc3, 0xff];

/** Park and Miller's generator: small, and the same everywhere. */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 48271) % 2147483647;
    return state % below;
  };
}

type Random = ReturnType<typeof generator>;

/** `file` with one to four edits within its first `reach` bytes: bytes set, cut, put in, repeated, words of extremes. */
function damage(file: Uint8Array, reach: number, random: Random): Uint8Array<ArrayBuffer> {
  let bytes = Buffer.from(file);
  for (let edits = 1 + random(4); edits > 0 && bytes.length > 8; edits--) {
    const at = random(Math.min(reach, bytes.length));
    const before = bytes.subarray(0, at);
    switch (random(6)) {
      case 0:
        bytes[at] = BYTES[random(BYTES.length)];
        break;
      case 1:
        bytes = Buffer.concat([before, bytes.subarray(at + 1 + random(8))]);
        break;
      case 2:
        bytes = Buffer.concat([before, Uint8Array.of(BYTES[random(BYTES.length)]), bytes.subarray(at)]);
        break;
      case 3:
        bytes = Buffer.concat([before, bytes.subarray(at, at + random(40)), bytes.subarray(at)]);
        break;
      case 4:
        bytes[at] ^= 1 << random(8);
        break;
      case 5:
        bytes.writeUInt32LE(
          [0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0x00100000][random(6)],
          Math.min(at, bytes.length - 4),
        );
        break;
    }
  }
  return new Uint8Array(bytes);
}

/** Counts what is refused; anything but a typed error that names something fails the test. */
async function survive(
  cases: number,
  seed: number,
  run: (random: Random) => Promise<unknown>,
): Promise<number> {
  const random = generator(seed);
  let refused = 0;
  for (let i = 0; i < cases; i++) {
    try {
      await run(random);
    } catch (error) {
      if (!(error instanceof Step3Error)) throw new Error(`case ${i} of seed ${seed}`, { cause: error });
      expect(error.message.length).toBeLessThan(2000);
      refused++;
    }
  }
  return refused;
}

const SAFETENSORS = encodeSafetensors(
  [
    { name: 'model.a', dtype: 'F32', shape: [2, 3], bytes: new Uint8Array(24) },
    { name: 'model.b', dtype: 'BF16', shape: [4], bytes: new Uint8Array(8) },
    { name: 'model.c', dtype: 'U8', shape: [], bytes: new Uint8Array(1) },
  ],
  { format: 'pt' },
);

const TOKENIZER = {
  'tokenizer.ggml.model': str('gpt2'),
  'tokenizer.ggml.pre': str('deepseek-v3'),
  'tokenizer.ggml.tokens': texts('<s>', 'a', 'b', 'ab'),
  'tokenizer.ggml.merges': texts('a b'),
  'tokenizer.ggml.eos_token_id': u32(0),
};

describe('damaged files', () => {
  it('40,000 safetensors headers', async () => {
    const refused = await survive(40_000, 20240817, async (random) => {
      const file = damage(SAFETENSORS, SAFETENSORS.length, random);
      // Half the time the length is made right again, so that the damage reaches the JSON.
      const end = file.lastIndexOf(0x7d) + 1;
      if (random(2) === 0 && end > 8) new DataView(file.buffer).setBigUint64(0, BigInt(end - 8), true);
      const { tensors } = await readHeader(memoryFile('x.safetensors', file));
      const last = tensors.reduce((sum, { begin, bytes }) => Math.max(sum, begin + bytes), 0);
      if (tensors.length > 0) expect(last).toBe(file.length);
    });
    expect(refused).toBeGreaterThan(20_000);
  });

  it('20,000 GGUF headers with metadata of both architectures', async () => {
    const files = [STEP35, STEP3].map((meta) =>
      ggufFile({ ...TOKENIZER, ...meta }, [{ name: 'x', format: 'q8_0', shape: [2, 32] }]),
    );
    const refused = await survive(20_000, 7, async (random) => {
      const file = damage(files[random(2)], 2000, random);
      const { metadata, tensors } = await readGguf(memoryFile('x.gguf', file));
      for (const { begin, bytes } of tensors) expect(begin + bytes).toBeLessThanOrEqual(file.length);
      const m = new Metadata('x.gguf', metadata);
      const config = ggufConfig(readArch(m), m, { vocab: 64, head: true, divisors: undefined });
      expect(typeof config.model_type).toBe('string');
      ggufTexts(m, 64);
    });
    expect(refused).toBeGreaterThan(10_000);
  });

  it('10,000 whole GGUF checkpoints', async () => {
    const whole = ggufFile(STEP3, step3Tensors('q4_0'));
    const refused = await survive(10_000, 11, async (random) => {
      const file = damage(whole, 4000, random);
      const checkpoint = await openCheckpoint(memorySource('memory', new Map([['m.gguf', file]])));
      for (const weight of checkpoint.weights.values()) await weight.readRows(0, 0, weight.rows);
    });
    expect(refused).toBeGreaterThan(5000);
  });

  it('20,000 configurations with quantization_config', async () => {
    const weights = { num_bits: 4, type: 'int', symmetric: true, group_size: 32, strategy: 'group' };
    const configs = [
      { quant_method: 'fp8', fmt: 'e4m3', activation_scheme: 'dynamic', weight_block_size: [128, 128] },
      {
        quant_method: 'compressed-tensors',
        format: 'pack-quantized',
        config_groups: { g: { targets: ['Linear'], weights } },
      },
      { quant_method: 'awq', bits: 4, group_size: 128, zero_point: true, modules_to_not_convert: ['a'] },
    ].map((quantization_config) => text({ ...configToJson(TINY), quantization_config }));
    const refused = await survive(20_000, 13, async (random) => {
      const file = damage(configs[random(3)], 2000, random);
      const fail = (expected: string, found: string) => {
        throw new Step3Error('json', `${expected} ${found}`);
      };
      const json = parseStrictJson(new TextDecoder().decode(file), fail);
      parseConfig(json, 'config.json');
      parseQuantization(json, 'config.json');
    });
    expect(refused).toBeGreaterThan(10_000);
  });

  it('10,000 indexes', async () => {
    const index = text({
      metadata: { total_size: 1 },
      weight_map: { a: 'model-1.safetensors', b: 'model-2.safetensors' },
    });
    const refused = await survive(10_000, 17, async (random) =>
      parseIndex(new TextDecoder().decode(damage(index, index.length, random)), 'x.json'),
    );
    expect(refused).toBeGreaterThan(5000);
  });

  afterAll(() => {
    expect(process.memoryUsage.rss()).toBeLessThan(1024 * MiB);
  });
});

/** The command as users run it: `node dist/cli.js` in a process of its own. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { build } from '../../scripts/build.mjs';
import { encodeSafetensors, readHeader } from '../../src/weights/safetensors.ts';
import { memoryFile } from '../../src/weights/source.ts';
import { fixture, readGolden, worst } from '../golden.ts';
import { gpu } from '../harness.ts';

const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));
const NO_ADAPTER = { VK_DRIVER_FILES: '/nonexistent', VK_ICD_FILENAMES: '/nonexistent' };

/** Only Linux finds its adapters through files that a test can hide. */
const onLinux = it.skipIf(process.platform !== 'linux');

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function step3(args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
  return new Promise((resolve) => {
    const options = { env: { ...process.env, ...env }, timeout: 50_000 };
    execFile(process.execPath, [CLI, ...args], options, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
      resolve({ code, stdout, stderr });
    });
  });
}

/** What step3 itself says on stderr: Dawn warns there too. */
function said({ stderr }: Ended): string[] {
  return stderr.split('\n').filter((line) => line.startsWith('step3: '));
}

async function json(args: readonly string[], env?: Record<string, string>): Promise<Record<string, unknown>> {
  const ended = await step3([...args, '--json'], env);
  expect(ended.stderr.split('\n').filter((line) => line.startsWith('step3:'))).toEqual([]);
  expect(ended.stdout.trimEnd().split('\n')).toHaveLength(1);
  return JSON.parse(ended.stdout);
}

let folder = '';
let tiny = '';
const at = (name: string) => join(folder, name);

async function writeIds(
  name: string,
  dtype: 'I32' | 'F32',
  shape: number[],
  bytes: Uint8Array,
): Promise<string> {
  await writeFile(at(name), encodeSafetensors([{ name: 'input_ids', dtype, shape, bytes }]));
  return at(name);
}

function ids(name: string, tokens: readonly number[]): Promise<string> {
  return writeIds(name, 'I32', [tokens.length], new Uint8Array(Int32Array.from(tokens).buffer));
}

beforeAll(async () => {
  build();
  folder = await mkdtemp(join(tmpdir(), 'step3-cli-'));
  tiny = at('tiny');
  const made = await json(['synth', '--config', 'step3-tiny', '--output', tiny, '--seed', '7']);
  expect(made).toMatchObject({ output: tiny, seed: 7, tensors: 55 });
});

afterAll(() => rm(folder, { recursive: true, force: true }));

const COMMANDS = ['run', 'logits', 'perplexity', 'synth', 'info', 'bench', 'cost', 'doctor', 'demo'];

describe('help', () => {
  it.each([...COMMANDS, 'bench kernels', 'bench decode', 'bench prefill'].filter((name) => name !== 'bench'))(
    'of %s has an example and the exit codes',
    async (name) => {
      const { code, stdout } = await step3([...name.split(' '), '--help']);
      expect(code).toBe(0);
      for (const part of [
        `Usage: step3 ${name}`,
        '--json',
        '--verbose',
        `Example:\n  step3 ${name}`,
        'Exit codes:',
      ]) {
        expect(stdout).toContain(part);
      }
    },
  );

  it('without a command lists all of them', async () => {
    const { code, stdout } = await step3([]);
    for (const name of COMMANDS) expect(stdout).toMatch(new RegExp(`^  ${name} `, 'm'));
    expect(stdout).toContain('Exit codes:');
    expect(code).toBe(0);
  });
});

describe('wrong input', () => {
  const run = (...args: string[]) => ['run', '--model', 'TINY', '--device', 'cpu', ...args];
  it.each<[string, string[], number, RegExp]>([
    ['an unknown command', ['dance'], 2, /unknown command 'dance'/],
    ['an unknown option', run('--promt', 'a'), 2, /unknown option '--promt'/],
    ['a missing option', ['run', '--prompt', 'a'], 2, /--model/],
    ['no prompt', run(), 2, /--prompt or --tokens/],
    ['two prompts', run('--prompt', 'a', '--tokens', '1'), 2, /one of --prompt and --tokens/],
    ['an empty prompt', run('--prompt', ''), 2, /prompt: expected at least one token/],
    ['a number that is none', run('--prompt', 'a', '--max-tokens', 'many'), 2, /--max-tokens/],
    ['no tokens to make', run('--prompt', 'a', '--max-tokens', '0'), 2, /--max-tokens/],
    ['a token that is none', run('--tokens', '1,x'), 2, /--tokens/],
    ['a token outside the vocabulary', run('--tokens', '1,320'), 2, /below 320, got 320/],
    ['a prompt past the context', run('--prompt', 'abcdefgh', '--context', '4'), 2, /at most 3 tokens/],
    ['a context past the model', run('--prompt', 'a', '--context', '65537'), 2, /maxContext/],
    ['a bad probability', run('--prompt', 'a', '--top-p', '2'), 2, /topP/],
    ['a bad temperature', run('--prompt', 'a', '--temperature', '-1'), 2, /temperature/],
    ['an unknown device', ['run', '--model', 'TINY', '--prompt', 'a', '--device', 'tpu'], 2, /--device/],
    ['an unknown kv format', run('--prompt', 'a', '--kv', 'f8'), 2, /--kv/],
    [
      'a missing folder',
      ['run', '--model', '/nonexistent', '--prompt', 'a'],
      3,
      /nonexistent: expected a folder or a \.gguf file, found no such file/,
    ],
    [
      'a missing folder, info',
      ['info', '--model', '/nonexistent'],
      3,
      /nonexistent: expected a folder or a \.gguf file, found no such file/,
    ],
    ['an unknown preset', ['synth', '--config', 'step4', '--output', 'NEW', '--seed', '1'], 2, /step3-tiny/],
    [
      'a folder in use',
      ['synth', '--config', 'step3-tiny', '--output', 'TINY', '--seed', '1'],
      3,
      /empty directory/,
    ],
    ['an unknown model to cost', ['cost', '--model', 'gpt'], 2, /model: expected a file, or one of/],
    ['unknown hardware', ['cost', '--hardware', 'H900'], 2, /hardware: expected one of h800, h20/],
    ['hardware that is no file', ['cost', '--hardware', '/none.json'], 3, /none\.json: hardware/],
    ['a context of nothing', ['cost', '--context', '0'], 2, /--context/],
    ['no seed', ['synth', '--config', 'step3-tiny', '--output', 'NEW'], 2, /--seed/],
    [
      'chunked without a chunk',
      ['logits', '--model', 'TINY', '--input', 'x', '--output', 'NEW', '--mode', 'chunked'],
      2,
      /--chunk/,
    ],
    [
      'no input file',
      ['logits', '--model', 'TINY', '--input', 'x', '--output', 'NEW'],
      2,
      /safetensors file/,
    ],
  ])('%s', async (_, args, code, message) => {
    const ended = await step3(args.map((arg) => (arg === 'TINY' ? tiny : arg === 'NEW' ? at('new') : arg)));
    expect(ended.stdout).toBe('');
    expect(said(ended)).toHaveLength(1);
    expect(said(ended)[0]).toMatch(message);
    expect(ended.code).toBe(code);
  });

  it('input_ids of a wrong type, shape or name', async () => {
    const four = new Uint8Array(Int32Array.of(1, 2, 3, 4).buffer);
    const files = [
      [await writeIds('float', 'F32', [4], four), /I32 \[T\].*F32 \[4\]/],
      [await writeIds('square', 'I32', [2, 2], four), /I32 \[2, 2\]/],
      [await writeIds('empty', 'I32', [0], new Uint8Array()), /T >= 1/],
      [join(tiny, 'model.safetensors'), /a tensor input_ids/],
      [join(tiny, 'config.json'), /header/],
    ] as const;
    for (const [input, message] of files) {
      const args = ['logits', '--model', tiny, '--input', input, '--output', at('out'), '--device', 'cpu'];
      const ended = await step3(args);
      expect(ended.code, input).toBe(2);
      expect(said(ended).join(), input).toMatch(message);
    }
  });

  it('a broken configuration names the field, as JSON too; --verbose adds the stack', async () => {
    await writeFile(at('config.json'), JSON.stringify({ model_type: 'llama' }));
    const args = ['synth', '--config', at('config.json'), '--output', at('new'), '--seed', '1'];
    const ended = await step3([...args, '--json', '--verbose']);
    expect(ended.code).toBe(3);
    expect(JSON.parse(ended.stdout)).toMatchObject({
      error: { code: 'config', facts: { field: 'model_type' } },
    });
    expect(ended.stderr).toMatch(/\n\s+at /);
  });

  onLinux('no adapter: names --device cpu, and doctor says how to get one', async () => {
    const run = await step3(['run', '--model', tiny, '--prompt', 'a'], NO_ADAPTER);
    expect(run.code).toBe(4);
    expect(said(run)).toEqual([expect.stringContaining('--device cpu')]);
    const doctor = await step3(['doctor', '--json'], NO_ADAPTER);
    expect(doctor.code).toBe(4);
    expect(JSON.parse(doctor.stdout)).toMatchObject({ adapters: [], reason: expect.any(String) });
    expect((await step3(['doctor'], NO_ADAPTER)).stdout).toContain('npm run setup');
  });
});

describe('commands', () => {
  it('info of a preset and of a checkpoint', async () => {
    const released = await json(['info', '--model', 'step3']);
    expect(released).toMatchObject({
      layers: 61,
      tokenizer: false,
      kv_bytes_per_token: { f16: 62464, f32: 124928, fp8: 61 * 2 * (256 + 4) },
    });
    expect(Math.round((released.parameters as number) / 1e9)).toBe(316);
    expect(Math.round((released.active_parameters as number) / 1e9)).toBe(38);
    const card = await json(['info', '--model', tiny]);
    expect(card).toMatchObject({ name: tiny, layers: 4, moe_layers: 2, parameters: 261432, tokenizer: true });
    expect((await step3(['info', '--model', tiny])).stdout).toMatch(/^model +.*\nlayers +4 /);
  });

  it('info tells windows from whole contexts, and counts blocks that draft', async () => {
    expect(await json(['info', '--model', 'step35-flash'])).toMatchObject({
      layers: 45,
      // 12 full layers of 8 KV heads of 128; 33 sliding ones keep 512 positions.
      kv_bytes_per_token: { f16: 12 * 2 * 8 * 128 * 2, fp8: 12 * 2 * 8 * (128 + 4) },
      window_bytes: { f16: 33 * 512 * 2 * 8 * 128 * 2, fp8: 33 * 512 * 2 * 8 * (128 + 4) },
      window: 512,
      draft_blocks: 3,
    });
    expect(await json(['info', '--model', 'step3'])).toMatchObject({ window: 0, draft_blocks: 0 });
  });

  it('run --draft: the same tokens in steps that verify drafts', async () => {
    const model = at('step35');
    await step3(['synth', '--config', 'step35-tiny', '--output', model, '--seed', '4']);
    const args = ['run', '--model', model, '--tokens', '1,2,3,4', '--max-tokens', '8', '--device', 'cpu'];
    const plain = await json(args);
    const drafted = await json([...args, '--draft', '2']);
    expect(drafted.sequences).toEqual(plain.sequences);
    expect(drafted).toMatchObject({ drafted: expect.any(Number), acceptance_rate: expect.any(Number) });
    const refused = await step3(['run', '--model', tiny, '--tokens', '1', '--draft', '1', '--device', 'cpu']);
    expect(refused.code).toBe(2);
    expect(said(refused)[0]).toMatch(/draft: expected an integer in 0\.\.0/);
  });

  it('synth keeps to the seed and replaces a checkpoint only with --force', async () => {
    const again = ['synth', '--config', join(tiny, 'config.json'), '--output', at('again'), '--seed', '7'];
    await json(again);
    const bytes = (dir: string) => readFile(join(dir, 'model.safetensors'));
    expect((await bytes(at('again'))).equals(await bytes(tiny))).toBe(true);
    expect((await step3(again)).code).toBe(3);
    expect((await step3([...again, '--dtype', 'f32', '--force'])).code).toBe(0);
    expect(await json(['info', '--model', at('again')])).toMatchObject({ bytes: 261432 * 4 });
  });

  it('run on the CPU: same seed, same text; another seed, another', async () => {
    const run = (seed: number) =>
      json([
        'run',
        '--model',
        tiny,
        '--prompt',
        'Hello',
        '--max-tokens',
        '6',
        '--device',
        'cpu',
        '--raw',
        '--temperature',
        '1',
        '--seed',
        String(seed),
        '--batch',
        '2',
      ]);
    const [first, second, other] = await Promise.all([run(3), run(3), run(8)]);
    expect(first).toMatchObject({
      prompt_tokens: 10,
      new_tokens: 12,
      device: 'cpu',
      tpot_median_ms: expect.any(Number),
    });
    expect(second.sequences).toEqual(first.sequences);
    expect(other.sequences).not.toEqual(first.sequences);
  });

  it('run prints the prompt, the text and the figures', async () => {
    const ended = await step3([
      'run',
      '--model',
      tiny,
      '--prompt',
      'Hello',
      '--max-tokens',
      '4',
      '--device',
      'cpu',
    ]);
    expect(ended.code).toBe(0);
    expect(ended.stdout).toMatch(
      /^Hello[\s\S]*\n\nprefill .*\ndecode .*\nTPOT +median .* p99 .*\npredicted +.*GPUs\nmemory .*\nadapter +CPU/,
    );
  });

  onLinux('demo falls back to the CPU without an adapter, and says so', async () => {
    const ended = await step3(['demo', '--max-tokens', '2'], NO_ADAPTER);
    expect(ended.code).toBe(0);
    expect(ended.stderr).toMatch(/^no WebGPU adapter found: running on the CPU/m);
    expect(ended.stdout).toMatch(/adapter +CPU/);
  });

  it.each(['prefill', 'decode', 'chunked'])(
    'logits on the CPU agree with the reference, mode %s',
    async (mode) => {
      const golden = await readGolden('step3-tiny');
      const input = await ids(`golden-${mode}`, golden.tokens);
      const output = at(`logits-${mode}`);
      const chunk = mode === 'chunked' ? ['--chunk', '7'] : [];
      const args = [
        '--model',
        fixture('step3-tiny'),
        '--input',
        input,
        '--output',
        output,
        '--device',
        'cpu',
      ];
      await json(['logits', ...args, '--mode', mode, ...chunk]);
      const { difference, argmaxDiffers } = worst(
        golden,
        await readLogits(output, golden.tokens.length, golden.vocab),
      );
      expect(difference).toBeLessThanOrEqual(1e-3);
      expect(argmaxDiffers).toBe(0);
    },
  );

  it.skipIf(gpu === undefined)('doctor and run on an adapter', async () => {
    const names = process.env.STEP3_ADAPTER === undefined ? [] : ['--adapter', process.env.STEP3_ADAPTER];
    const card = await json(['doctor', ...names]);
    expect(card).toMatchObject({ version: '0.1.0', missing: expect.any(Array) });
    expect((card.adapters as string[]).length).toBeGreaterThan(0);
    // The kernels have tests of their own.
    const run = [
      'run',
      '--model',
      tiny,
      '--tokens',
      '1,2,3',
      '--max-tokens',
      '4',
      '--no-self-test',
      ...names,
    ];
    const result = await json(run);
    expect(result).toMatchObject({ new_tokens: 4, device: 'gpu', bytes: { total: expect.any(Number) } });
  });
});

async function readLogits(path: string, tokens: number, vocab: number): Promise<Float32Array> {
  const bytes = new Uint8Array(await readFile(path));
  const { tensors } = await readHeader(memoryFile('logits', bytes));
  expect(tensors).toMatchObject([{ name: 'logits', dtype: 'F32', shape: [tokens, vocab] }]);
  return new Float32Array(bytes.slice(tensors[0].begin).buffer);
}

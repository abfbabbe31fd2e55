/** `step3 convert`, `step3 chat` and `step3 info` on other formats, as users run them. */
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { build } from '../../scripts/build.mjs';

const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function step3(args: readonly string[], input?: string): Promise<Ended> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [CLI, ...args], { timeout: 50_000 }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
      resolve({ code, stdout, stderr });
    });
    child.stdin?.end(input ?? '');
  });
}

async function json(args: readonly string[]): Promise<Record<string, unknown>> {
  const { code, stdout, stderr } = await step3([...args, '--json']);
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout);
}

let folder = '';
const at = (name: string) => join(folder, name);

beforeAll(async () => {
  build();
  folder = await mkdtemp(join(tmpdir(), 'step3-formats-'));
  await json(['synth', '--config', 'step3-tiny', '--output', at('tiny'), '--seed', '7']);
});

afterAll(() => rm(folder, { recursive: true, force: true }));

describe('convert', () => {
  it.each([
    ['bf16', 'bf16', ['bf16']],
    ['fp8', 'fp8', ['bf16', 'fp8']],
    ['int4', 'int4', ['bf16', 'int4']],
    ['q8_0', 'q8_0.gguf', ['bf16', 'f32', 'q8_0']],
  ])('to %s, and info shows the formats', async (to, name, formats) => {
    const made = await json(['convert', '--model', at('tiny'), '--to', to, '--output', at(name)]);
    expect(Object.keys(made.formats as object).sort()).toEqual(formats);
    const card = await json(['info', '--model', at(name)]);
    expect(card).toMatchObject({ bytes: made.bytes, layers: 4, tokenizer: true });
    const kinds = card.kinds as Record<string, { formats: string[] }>;
    expect(new Set(Object.values(kinds).flatMap((kind) => kind.formats))).toEqual(new Set(formats));
    expect((await step3(['info', '--model', at(name)])).stdout).toContain(formats.at(-1));
  });

  it('prints sizes, and refuses what is there, what is quantised and what it does not know', async () => {
    const printed = await step3([
      'convert',
      '--model',
      at('tiny'),
      '--to',
      'q4_0',
      '--output',
      at('q4.gguf'),
    ]);
    expect(printed.stdout).toMatch(/^written +.*q4\.gguf\nweights +.* → .*\ntensors +.*q4_0/);
    const before = await readdir(folder);
    for (const [args, code, mention] of [
      [['--model', at('tiny'), '--to', 'q4_0', '--output', at('q4.gguf')], 2, /there already/],
      [['--model', at('q4.gguf'), '--to', 'bf16', '--output', at('new')], 3, /f32, f16 or bf16/],
      [['--model', at('tiny'), '--to', 'q2_k', '--output', at('new')], 2, /--to/],
      [['--model', at('nowhere.gguf'), '--to', 'bf16', '--output', at('new')], 3, /no such file/],
    ] as const) {
      const ended = await step3(['convert', ...args]);
      expect(ended.code).toBe(code);
      expect(ended.stderr).toMatch(mention);
    }
    expect(await readdir(folder)).toEqual(before);
  });
});

describe('chat', () => {
  const base = () => ['--model', at('tiny'), '--device', 'cpu', '--max-tokens', '4'];

  it('answers one prompt or messages, for programs', async () => {
    const shape = {
      message: { role: 'assistant', content: expect.any(String) },
      tokens: expect.any(Array),
      new_tokens: expect.any(Number),
      device: 'cpu',
    };
    const one = await json(['chat', ...base(), '--prompt', 'Hi', '--system', 'Be brief.']);
    expect(one).toMatchObject(shape);
    // <bos> is not set: " Be brief. <|BOT|>user\n Hi <|EOT|><|BOT|>assistant\n<think>\n", a token a byte.
    expect(one.prompt_tokens).toBe(' Be brief. <|BOT|>user\n Hi <|EOT|><|BOT|>assistant\n<think>\n'.length);
    const messages = [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'Hi' },
    ];
    await writeFile(at('messages.json'), JSON.stringify(messages));
    const same = await json(['chat', ...base(), '--messages', at('messages.json')]);
    expect(same.tokens).toEqual(one.tokens);
    const run = await json(['run', ...base(), '--chat', '--prompt', 'Hi', '--system', 'Be brief.']);
    expect(run.tokens).toEqual(one.tokens);
    const short = await json(['chat', ...base(), '--messages', at('messages.json'), '--no-thinking']);
    expect(short.prompt_tokens).toBe((one.prompt_tokens as number) - '<think>\n'.length);
  });

  it('takes a line of the input for a turn', async () => {
    const { code, stderr } = await step3(['chat', ...base()], 'Hi\n\nHow are you?\n');
    expect(code, stderr).toBe(0);
  });

  it.each<[string, string[], RegExp]>([
    ['two prompts', ['--prompt', 'a', '--messages', 'x'], /one of --prompt and --messages/],
    ['no prompt for programs', ['--json'], /--prompt or --messages with --json/],
    ['a missing file', ['--messages', '/nonexistent'], /messages.*readable/],
    ['messages that are none', ['--messages', 'BAD'], /messages\[0\]\.role/],
    ['two system prompts', ['--messages', 'SYSTEM', '--system', 'x'], /no --system/],
    ['tools that are none', ['--prompt', 'a', '--tools', 'BAD'], /tools\[0\]\.name/],
  ])('refuses %s', async (_, args, mention) => {
    await writeFile(at('bad.json'), '[{"role": "robot"}]');
    await writeFile(at('system.json'), '[{"role": "system", "content": "x"}]');
    const named = args.map((arg) => ({ BAD: at('bad.json'), SYSTEM: at('system.json') })[arg] ?? arg);
    const { code, stderr } = await step3(['chat', ...base(), ...named]);
    expect(code).toBe(2);
    expect(stderr).toMatch(mention);
  });

  it('run refuses options that do not go with --chat', async () => {
    const run = (...args: string[]) => step3(['run', '--model', at('tiny'), '--device', 'cpu', ...args]);
    expect((await run('--prompt', 'a', '--system', 'x')).stderr).toMatch(/--chat with --system/);
    expect((await run('--chat', '--tokens', '1')).stderr).toMatch(/--prompt with --chat/);
    expect((await run('--chat', '--raw', '--prompt', 'a')).stderr).toMatch(/one of --chat and --raw/);
    expect((await run('--chat', '--prompt', 'a', '--batch', '2')).stderr).toMatch(/1 with --chat/);
  });
});

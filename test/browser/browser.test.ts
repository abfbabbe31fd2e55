/** The public interface in headless Chromium on its software adapter; STEP3_CHROMIUM names another browser. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, expect, it, type TestContext } from 'vitest';
import { build } from '../../scripts/build.mjs';
import { loadModel } from '../../src/runtime/load_model.ts';
import { readGolden, worst } from '../golden.ts';
import { servePage } from './serve.ts';

const CHROMIUM = process.env.STEP3_CHROMIUM ?? '/usr/bin/chromium';
const FLAGS = [
  '--headless=new',
  '--no-sandbox',
  '--enable-unsafe-webgpu',
  '--use-webgpu-adapter=swiftshader',
  '--enable-features=Vulkan',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
];
const MODES = [{ mode: 'prefill' }, { mode: 'chunked', chunk: 7 }, { mode: 'decode' }] as const;
const LIMIT = 1e-3;
const NEW_TOKENS = 8;

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** What page.html posts. */
interface Report {
  readonly noAdapter?: string;
  readonly error?: string;
  readonly name: string;
  readonly caps: { readonly subgroups: boolean };
  readonly loaded: Readonly<Record<string, number>>;
  readonly logits: readonly (readonly number[])[];
  readonly generated: readonly number[];
  readonly disposed: Readonly<Record<string, number>>;
}

/** Opens `url` in a browser of its own until `done` settles; neither the browser nor its profile outlives that. */
async function browse<T>(url: string, done: Promise<T>): Promise<T> {
  const profile = await mkdtemp(join(tmpdir(), 'step3-browser-'));
  const child = spawn(CHROMIUM, [...FLAGS, `--user-data-dir=${profile}`, url], {
    // A group of its own, so that the browser's helpers end with it.
    detached: true,
    env: { ...process.env, HOME: profile, XDG_CONFIG_HOME: profile, XDG_CACHE_HOME: profile },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.on('data', (part) => {
    said = `${said}${part}`.slice(-4000);
  });
  let timer: NodeJS.Timeout | undefined;
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, signal) => resolve(`exit code ${code}, signal ${signal}`));
  });
  const kill = () => {
    if (child.pid === undefined || child.exitCode !== null) return;
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch {
      // It has just ended.
    }
  };
  // Also when the tests are interrupted.
  process.once('exit', kill);
  try {
    return await Promise.race([
      done,
      ended.then((how) => Promise.reject(new Error(`the browser ended (${how}): ${said}`))),
      new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new Error(`the page reported nothing in 240 s: ${said}`)), 240_000);
      }),
    ]);
  } finally {
    clearTimeout(timer);
    kill();
    process.off('exit', kill);
    await ended;
    await rm(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}

/** Skips a test and says why, whatever the reporter. */
function skip(context: TestContext, reason: string): never {
  console.warn(`the browser test is skipped: ${reason}`);
  return context.skip(reason);
}

beforeAll(build);

it('loads a model by URL, computes the reference logits and generates', async (context) => {
  if (!existsSync(CHROMIUM)) skip(context, `there is no ${CHROMIUM}; STEP3_CHROMIUM names another browser`);
  const golden = await readGolden('step3-tiny');
  const prompt = golden.tokens.slice(0, 16);
  const server = await servePage({
    '/dist/': here('../../dist'),
    '/model/': golden.folder,
    '/page.html': here('page.html'),
    '/jinja/': here('../../node_modules/@huggingface/jinja/dist'),
    '/tokenizers/': here('../../node_modules/@huggingface/tokenizers/dist'),
  });
  let report: Report;
  try {
    const url = new URL('/page.html', server.origin);
    url.searchParams.set('tokens', JSON.stringify(golden.tokens));
    url.searchParams.set('modes', JSON.stringify(MODES));
    url.searchParams.set('prompt', JSON.stringify(prompt));
    report = (await browse(url.href, server.report)) as Report;
  } finally {
    await server.close();
  }
  if (report.noAdapter !== undefined) skip(context, report.noAdapter);
  expect(report.error).toBeUndefined();

  const differences = report.logits.map((logits) => worst(golden, Float32Array.from(logits)));
  expect(differences).toHaveLength(MODES.length);
  for (const [i, { difference, argmaxDiffers }] of differences.entries()) {
    expect(difference, JSON.stringify(MODES[i])).toBeLessThanOrEqual(LIMIT);
    expect(argmaxDiffers, JSON.stringify(MODES[i])).toBe(0);
  }
  expect(report.generated).toEqual(await greedy(golden.folder, prompt));
  expect(report.loaded.total).toBeGreaterThan(0);
  expect(Object.values(report.disposed).every((bytes) => bytes === 0)).toBe(true);
  // The weights came by byte ranges.
  expect(server.served).toContain('/model/model.safetensors 206');
  expect(server.served).not.toContain('/model/model.safetensors 200');
}, 260_000);

/** The same continuation on the interpreter. */
async function greedy(folder: string, prompt: readonly number[]): Promise<number[]> {
  const model = await loadModel(folder, { device: 'cpu', kv: 'f32', maxContext: 128 });
  try {
    const tokens: number[] = [];
    const options = { maxTokens: NEW_TOKENS, temperature: 0, stopTokens: [] };
    for await (const { token } of model.generate(prompt, options)) tokens.push(token);
    return tokens;
  } finally {
    model.dispose();
  }
}

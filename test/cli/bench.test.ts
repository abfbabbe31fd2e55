/** `step3 bench` as users run it; only the form of results is checked, never a time. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { plot } from '../../scripts/bench_plot.mjs';
import { build } from '../../scripts/build.mjs';
import type { Law } from '../../src/cost/law.ts';
import { madeUp, spread } from '../cost/made_up.ts';
import { fixture } from '../golden.ts';
import { gpu } from '../harness.ts';

const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));

function bench(args: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    // No calibration of this machine's.
    const env = { ...process.env, XDG_CACHE_HOME: folder };
    execFile(
      process.execPath,
      [CLI, 'bench', ...args],
      { timeout: 250_000, env },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
        resolve({ code, stdout, stderr });
      },
    );
  });
}

/** Every number within a result. */
function numbers(value: unknown): number[] {
  if (typeof value === 'number') return [value];
  return value !== null && typeof value === 'object' ? Object.values(value).flatMap(numbers) : [];
}

/** A law and a machine of which nothing is known. */
const LAW: Law = {
  ...{ launch: 10, launchWarm: 10, launchCached: 10, bandwidth: 0.5, arithmetic: 0.5, workgroup: 0 },
  ...{ iteration: 0, iterationCached: 0 },
};
const CURVE = [{ bytes: 1e6, ...spread(5) }];
const MACHINE = { read: CURVE, write: CURVE, units: 2, fma_tflops: spread(1), matrix_tflops: null };

const CARD = {
  adapter: expect.any(String),
  driver: expect.any(String),
  date: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
  features: expect.any(Array),
  clock: expect.stringMatching(/^(gpu|wall)$/),
  ceilings: {
    read_gbps: expect.any(Number),
    read_bytes: expect.any(Number),
    fma_tflops: expect.any(Number),
    dispatch_us: expect.any(Number),
    round_trip_us: expect.any(Number),
  },
};

let folder = '';

beforeAll(async () => {
  build();
  folder = await mkdtemp(join(tmpdir(), 'step3-bench-'));
});

afterAll(() => rm(folder, { recursive: true, force: true }));

describe.skipIf(gpu === undefined)('bench kernels', () => {
  it('prints one JSON object, and appends a line per row to a file that can be plotted', async () => {
    const file = join(folder, 'kernels.jsonl');
    const { code, stdout, stderr } = await bench([
      ...['kernels', '--filter', 'rmsnorm', '--json', '--output', file],
    ]);
    expect(stderr.split('\n').filter((line) => line.startsWith('step3:'))).toEqual([]);
    expect(code).toBe(0);
    expect(stdout.trimEnd().split('\n')).toHaveLength(1);
    const result = JSON.parse(stdout);
    expect(result).toMatchObject({ benchmark: 'kernels', ...CARD, errors: null });
    expect(result.rows).toHaveLength(1);
    const found = { kernel: 'rmsnorm', variant: 'plain', status: 'ok', predicted_us: null };
    expect(result.rows[0]).toMatchObject(found);
    expect(numbers(result).every(Number.isFinite)).toBe(true);
    const lines = (await readFile(file, 'utf8')).trimEnd().split('\n');
    expect(lines).toHaveLength(1);
    const row = JSON.parse(lines[0]);
    expect(row).toMatchObject({ kernel: 'rmsnorm', us: result.rows[0].us, ceilings: result.ceilings });
    const svg = await plot([row]);
    expect(svg).toContain(row.shape);
    expect(svg).not.toMatch(/NaN|undefined/);
  });

  it('lets copies of weights take turns over as much memory as it is told', async () => {
    const args = ['kernels', '--preset', 'step3-mini', '--batch', '1', '--filter', 'o_proj', '--json'];
    const { code, stdout } = await bench([...args, '--footprint', '0.05']);
    expect(code).toBe(0);
    const { footprint_gb, rows } = JSON.parse(stdout);
    expect(footprint_gb).toBe(0.05);
    // 896 x 2048 weights of two bytes.
    expect(rows.map(({ copies }: { copies: number }) => copies)).toEqual([
      Math.ceil(0.05e9 / (896 * 2048 * 2)),
    ]);
    const wrong = await bench([...args, '--footprint', '0']);
    expect(wrong.code).toBe(2);
  });

  it('prints a card, a table and then the object', async () => {
    const { code, stdout } = await bench(['kernels', '--filter', 'moe_combine', '--shapes', 'small']);
    expect(code).toBe(0);
    const lines = stdout.trimEnd().split('\n');
    expect(lines[0]).toMatch(/^adapter /);
    expect(stdout).toMatch(/^predictions +none: this adapter is not calibrated: step3 calibrate$/m);
    expect(stdout).toMatch(/^read bandwidth .* GB\/s/m);
    expect(stdout).toMatch(/^kernel +variant +shape +us/m);
    expect(stdout).toMatch(/^moe_combine +plain +mini, 16 tokens/m);
    expect(JSON.parse(lines[lines.length - 1]).rows).toHaveLength(1);
  });

  it('says what the calibration predicts beside what was measured', async () => {
    const { vendor, architecture, device, description } = gpu!.info;
    const adapter = { vendor, architecture, device, description, bounds_checks: true, subgroup: 8 };
    const file = join(folder, 'calibration.json');
    await writeFile(file, JSON.stringify(madeUp(['moe_combine'], LAW, MACHINE, adapter)));
    const args = ['kernels', '--filter', 'mo', '--shapes', 'small', '--batch', '1', '--calibration'];
    const { code, stdout } = await bench([...args, file]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^kernel .* predicted us +% off$/m);
    expect(stdout).toMatch(/^moe_combine .* \d+(\.\d+)? +-?\d+\.\d$/m);
    expect(stdout).toMatch(/^moe_route .* - +-$/m); // no law
    expect(stdout).toMatch(/^\|predicted \/ us - 1\| +median .* %, P90 .* %, of 1 rows$/m);
    const result = JSON.parse(stdout.trimEnd().split('\n').at(-1)!);
    expect(result.errors).toMatchObject({ count: 1, median_percent: expect.any(Number) });
    const row = result.rows.find((each: { kernel: string }) => each.kernel === 'moe_combine');
    expect(row.predicted_us).toBeGreaterThan(5);
    await writeFile(
      file,
      JSON.stringify(madeUp(['moe_combine'], LAW, MACHINE, { ...adapter, device: 'another' })),
    );
    const foreign = await bench([...args, file]);
    expect([foreign.code, foreign.stdout]).toEqual([2, '']);
    expect(foreign.stderr).toMatch(/^step3: calibration: expected one of this adapter.*another/m);
  });

  it('lists the kernels when the filter matches none', async () => {
    const { code, stderr } = await bench(['kernels', '--filter', 'no such kernel']);
    expect(code).toBe(2);
    expect(stderr).toMatch(/^step3: filter: expected .*rmsnorm, .*matvec, /m);
  });
});

describe.skipIf(gpu === undefined)('bench decode', () => {
  it('prints one JSON object', async () => {
    const { code, stdout } = await bench([
      ...['decode', '--preset', 'step3-tiny', '--layers', '2', '--steps', '4', '--contexts', '100'],
      ...['--profile', '--json'],
    ]);
    expect(code).toBe(0);
    const result = JSON.parse(stdout);
    expect(result).toMatchObject({ benchmark: 'decode', model: 'step3-tiny (2 layers)', layers: 2, ...CARD });
    expect(result.rows.map((row: { batch: number }) => row.batch)).toEqual([1, 4]);
    expect(result.rows[0]).toMatchObject({
      context: 100,
      steps: 4,
      tpot_median_ms: expect.any(Number),
      tpot_p99_ms: expect.any(Number),
      tokens_per_second: expect.any(Number),
      mbu_percent: expect.any(Number),
      dispatches: expect.any(Number),
      encode_ms: expect.any(Number),
    });
    expect(result.profiles).toHaveLength(2);
    expect(numbers(result).every(Number.isFinite)).toBe(true);
  });

  it('takes the widths of a config.json', async () => {
    const { code, stdout } = await bench([
      ...['decode', '--config', fixture('step35-tiny'), '--layers', '1', '--steps', '2', '--batches', '1'],
      ...['--contexts', '50', '--json'],
    ]);
    expect(code).toBe(0);
    const result = JSON.parse(stdout);
    expect(result).toMatchObject({ model: 'step35-tiny (1 layers)', layers: 1 });
    expect(result.rows).toHaveLength(1);
  });
});

describe.skipIf(gpu === undefined)('bench prefill', () => {
  const args = ['prefill', '--preset', 'step3-tiny', '--layers', '2', '--rounds', '1'];

  it('prints one JSON object, and appends a line per row to a file', async () => {
    const file = join(folder, 'prefill.jsonl');
    const { code, stdout } = await bench([
      ...args,
      ...['--prompts', '40,20', '--chunks', '16', '--profile', '--json', '--output', file],
    ]);
    expect(code).toBe(0);
    expect(stdout.trimEnd().split('\n')).toHaveLength(1);
    const result = JSON.parse(stdout);
    expect(result).toMatchObject({
      benchmark: 'prefill',
      model: 'step3-tiny (2 layers)',
      layers: 2,
      ...CARD,
    });
    expect(
      result.rows.map(({ prompt, chunk }: { prompt: number; chunk: number }) => [prompt, chunk]),
    ).toEqual([
      [40, 16],
      [20, 16],
    ]);
    expect(result.rows[0]).toMatchObject({
      rounds: 1,
      ttft_ms: expect.any(Number),
      tokens_per_second: expect.any(Number),
      flops: expect.any(Number),
      dispatches: expect.any(Number),
    });
    // Null where the adapter has no timestamps.
    for (const name of ['gpu_ms', 'tflops', 'arithmetic_percent'])
      expect(result.rows[0]).toHaveProperty(name);
    expect(result.profiles[0]).toMatchObject({ prompt: 40, chunk: 16 });
    expect(result.profiles[0].rows[0]).toMatchObject({
      label: expect.any(String),
      tflops: expect.any(Number),
      arithmetic_percent: expect.any(Number),
    });
    expect(numbers(result).every(Number.isFinite)).toBe(true);
    const lines = (await readFile(file, 'utf8')).trimEnd().split('\n');
    expect(lines).toHaveLength(2);
    const { adapter, driver, date, bounds_checks, kv, ceilings, rows } = result;
    expect(JSON.parse(lines[1])).toEqual({
      ...{ benchmark: 'prefill', adapter, driver, date, bounds_checks, model: result.model, kv, ceilings },
      ...rows[1],
    });
  });

  it('prints a card, a table and then the object, in the chunks that loading would take', async () => {
    const { code, stdout } = await bench([...args, '--prompts', '20']);
    expect(code).toBe(0);
    const lines = stdout.trimEnd().split('\n');
    expect(lines[0]).toMatch(/^adapter /);
    expect(stdout).toMatch(/^ *prompt +chunk +TTFT ms +GPU ms +tokens\/s .* dispatches$/m);
    expect(stdout).toMatch(/^ +20 +21 /m);
    expect(JSON.parse(lines[lines.length - 1]).rows).toHaveLength(1);
  });
});

describe('wrong usage', () => {
  it.each([
    [['decode', '--preset', 'nothing'], 3, /preset: expected one of step3, /],
    [['decode', '--model', 'x', '--layers', '2'], 2, /layers: /],
    [['decode', '--model', 'x', '--format', 'q8_0'], 2, /format: .*beside --model/],
    [['kernels', '--format', 'q9_9'], 2, /q8_0, q4_0, q4_k/],
    [['decode', '--config', 'x', '--preset', 'step3-tiny'], 2, /preset: .*beside --config/],
    [['decode', '--config', '/no/such/file'], 3, /\/no\/such\/file: config: expected a readable file/],
    [
      ['decode', '--config', fixture('step35-tiny'), '--layers', '99'],
      2,
      /layers: expected an integer in 1../,
    ],
    [['decode', '--batches', '0'], 2, /integer >= 1/],
    [['prefill', '--preset', 'nothing'], 3, /preset: expected one of step3, /],
    [['prefill', '--model', 'x', '--layers', '2'], 2, /layers: .*beside --model/],
    [['prefill', '--prompts', '0'], 2, /integer >= 1/],
    [['prefill', '--chunks', '16,none'], 2, /integer >= 1/],
    [['prefill', '--rounds', '0'], 2, /integer >= 1/],
    [['prefill', '--batches', '1'], 2, /unknown option '--batches'/],
    [['kernels', '--shapes', 'huge'], 2, /real, small, all/],
    [['nothing'], 2, /unknown command/],
  ])('%j is refused on one line', async (args, code, message) => {
    const ended = await bench(args as string[]);
    expect(ended.code).toBe(code);
    expect(ended.stderr).toMatch(message as RegExp);
    expect(ended.stderr.split('\n').filter((line) => line.startsWith('step3: '))).toHaveLength(1);
  });

  it.each(['kernels', 'decode', 'prefill'])(
    'the help of bench %s has an example and the exit codes',
    async (name) => {
      const { code, stdout } = await bench([name, '--help']);
      expect(code).toBe(0);
      expect(stdout).toContain('Example:');
      expect(stdout).toContain('Exit codes:');
    },
  );
});

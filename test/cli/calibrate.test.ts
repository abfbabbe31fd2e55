/** `step3 calibrate` and `step3 validate` as users run them, with few and small probes; no time is checked. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { build } from '../../scripts/build.mjs';
import { calibrate } from '../../src/bench/calibrate.ts';
import type { ProbeShape } from '../../src/bench/probe_shape.ts';
import { writeCalibration } from '../../src/cli/calibration_store.ts';
import { CALIBRATION_FORMAT, parseCalibration } from '../../src/cost/calibration.ts';
import { openDevice } from '../../src/runtime/device.ts';
import { gpu } from '../harness.ts';

const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));

let folder = '';

function step3(args: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const env = { ...process.env, XDG_CACHE_HOME: folder };
    execFile(process.execPath, [CLI, ...args], { timeout: 550_000, env }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
      resolve({ code, stdout, stderr });
    });
  });
}

/** Every number within a result. */
function numbers(value: unknown): number[] {
  if (typeof value === 'number') return [value];
  return value !== null && typeof value === 'object' ? Object.values(value).flatMap(numbers) : [];
}

beforeAll(async () => {
  build();
  folder = await mkdtemp(join(tmpdir(), 'step3-calibrate-'));
});

afterAll(() => rm(folder, { recursive: true, force: true }));

/** The first probes of what a step of one sequence runs. */
function few(): (probe: ProbeShape) => boolean {
  const seen = new Map<string, number>();
  return ({ kernel, shape, heat, greedy }) => {
    if (!greedy || !/matvec|mfa_|moe_down|embed|rope_turns|sample/.test(kernel.name)) return false;
    if (kernel.name === 'matvec' && !/, 1 tokens/.test(shape)) return false;
    if (kernel.name === 'mfa_decode' || (kernel.name === 'mfa_quad' && heat === 'cached')) return false;
    const kind = `${kernel.name} ${/experts|places/.test(shape)} ${heat}`;
    seen.set(kind, (seen.get(kind) ?? 0) + 1);
    // Those of attention come in two kinds.
    return (seen.get(kind) ?? 0) <= (kernel.name === 'mfa_quad' ? 8 : 4);
  };
}

describe.skipIf(gpu === undefined)('calibrate and validate', () => {
  const file = () => join(folder, 'calibration.json');

  it('measures a calibration that can be read back', async () => {
    const own = await openDevice({ adapter: process.env.STEP3_ADAPTER });
    try {
      const parts: string[] = [];
      const calibration = await calibrate(own, {
        maxBytes: 16 * 1024 ** 2,
        filter: few(),
        onProgress: (what, done, total) => {
          expect(done).toBeLessThanOrEqual(Math.max(total, done));
          parts.push(what);
        },
      });
      await writeCalibration(file(), calibration);
      expect(parts[parts.length - 1]).toBe('done');
      expect(numbers(calibration).every(Number.isFinite)).toBe(true);
      const read = parseCalibration(JSON.parse(await readFile(file(), 'utf8')));
      expect(Object.keys(read.families)).toEqual(Object.keys(calibration.families));
      expect(read.read[read.read.length - 1].bytes).toBe(16 * 1024 ** 2);
      expect(read.read.every(({ p10, median, p90 }) => p10 <= median && median <= p90)).toBe(true);
    } finally {
      own.dispose();
    }
  }, 600_000);

  it('predicts and measures a sweep, and writes JSON, a report and plots', async () => {
    const out = join(folder, 'out');
    const { code, stdout, stderr } = await step3([
      ...['validate', '--model', 'step3-tiny:3', '--batches', '1', '--contexts', '100,300', '--steps', '4'],
      ...['--calibration', file(), '--output', out, '--json'],
    ]);
    expect(stderr.split('\n').filter((line) => line.startsWith('step3:'))).toEqual([]);
    expect(code).toBe(0);
    const result = JSON.parse(stdout);
    expect(result).toMatchObject({ benchmark: 'validate', kv: 'f16', bounds_checks: true });
    expect(result.steps.map((step: { context: number }) => step.context)).toEqual([100, 300]);
    expect(result.steps[0]).toMatchObject({
      ...{ model: 'step3-tiny:3', batch: 1, experts_expected: 3, experts_chosen: 3 },
      tpot_ms: expect.any(Number),
      tpot_predicted_ms: expect.any(Number),
      bound: expect.stringMatching(/^(launch|memory|compute|latency|host)$/),
    });
    expect(result.errors.tpot).toMatchObject({ count: 2, median_percent: expect.any(Number) });
    expect(numbers(result).every(Number.isFinite)).toBe(true);
    const [json, report, scatter, stack] = await Promise.all(
      ['validate.json', 'validate.md', 'validate-scatter.svg', 'validate-steps.svg'].map((name) =>
        readFile(join(out, name), 'utf8'),
      ),
    );
    expect(JSON.parse(json).steps).toHaveLength(2);
    expect(report).toContain('| step3-tiny:3 | 1 | 300 |');
    expect(`${report}${scatter}${stack}`).not.toMatch(/NaN|undefined|Infinity/);
    expect(scatter.match(/<circle/g)?.length).toBe(3);
    expect(stack).toContain('step3-tiny:3, batch 1, 300');
  }, 600_000);

  it('refuses a calibration of another adapter, and one that is none', async () => {
    const other = join(folder, 'other.json');
    const json = JSON.parse(await readFile(file(), 'utf8'));
    await writeFile(other, JSON.stringify({ ...json, adapter: { ...json.adapter, description: 'another' } }));
    const validate = ['validate', '--model', 'step3-tiny', '--calibration'];
    const foreign = await step3([...validate, other]);
    expect(foreign.code).toBe(2);
    expect(foreign.stderr).toMatch(/^step3: calibration: expected one of this adapter.*another/m);
    await writeFile(other, JSON.stringify({ format: CALIBRATION_FORMAT }));
    const bad = await step3([...validate, other]);
    expect(bad.code).toBe(3);
    expect(bad.stderr).toMatch(/^step3: .*other\.json: adapter: expected an object/m);
    await writeFile(other, 'no JSON');
    expect((await step3([...validate, other])).stderr).toMatch(/other\.json: calibration: expected JSON/);
  }, 600_000);

  it('refuses a format for weights that are there, and one that was not calibrated', async () => {
    const validate = ['validate', '--calibration', file(), '--format', 'q8_0', '--contexts', '20', '--model'];
    const there = await step3([...validate, 'weights/stories']);
    expect(there.code).toBe(2);
    expect(there.stderr).toMatch(/^step3: format: expected no such option for a checkpoint/m);
    const missing = await step3([...validate, 'step3-small:1', '--batches', '1', '--output', folder]);
    expect(missing.code).toBe(2);
    expect(missing.stderr).toMatch(/^step3: .*q8_0/m);
  }, 600_000);

  it('says how to calibrate where nothing is stored, in validate and after run', async () => {
    const validated = await step3(['validate', '--model', 'step3-tiny']);
    expect(validated.code).toBe(2);
    expect(validated.stderr).toMatch(/^step3: calibration: expected what step3 calibrate writes/m);
    const run = ['run', '--model', fileURLToPath(new URL('../../weights/stories', import.meta.url))];
    const { stdout } = await step3([...run, '--prompt', 'Once', '--max-tokens', '3']);
    expect(stdout).toMatch(/^predicted +this adapter is not calibrated: step3 calibrate$/m);
    const json = JSON.parse(
      (await step3([...run, '--prompt', 'Once', '--max-tokens', '3', '--json'])).stdout,
    );
    expect(json).toMatchObject({ tpot_predicted_ms: null, tpot_not_predicted: expect.any(String) });
  }, 600_000);
});

describe('wrong usage', () => {
  it.each([
    [['validate', '--model', 'step3-tiny', '--calibration', '/no/such/file'], 2, /ENOENT/],
    [['validate', '--batches', '0'], 2, /integer >= 1/],
    [['validate', '--steps', '1'], 2, /integer >= 2/],
    [['calibrate', '--max-mib', 'x'], 2, /integer >= 1/],
    [['calibrate', '--no-such-option'], 2, /unknown option/],
  ])('%j is refused on one line', async (args, code, message) => {
    const ended = await step3(args as string[]);
    expect(ended.code).toBe(code);
    expect(ended.stderr).toMatch(message as RegExp);
    expect(ended.stderr.split('\n').filter((line) => line.startsWith('step3: '))).toHaveLength(1);
  });

  it('calibrate names the formats that it knows', async () => {
    const { code, stderr } = await step3(['calibrate', '--formats', 'q8_0,q9']);
    expect(code).toBe(2);
    expect(stderr).toMatch(/Expected some of .*q8_0.*fp8.*got q9/);
  });

  it.each(['calibrate', 'validate'])('the help of %s has an example and the exit codes', async (name) => {
    const { code, stdout } = await step3([name, '--help']);
    expect(code).toBe(0);
    expect(stdout).toContain('Example:');
    expect(stdout).toContain('Exit codes:');
  });
});

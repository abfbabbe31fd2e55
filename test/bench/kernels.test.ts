import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type BenchCase, benchCases } from '../../src/bench/cases.ts';
import type { Ceilings } from '../../src/bench/ceilings.ts';
import { benchKernels, type KernelRow } from '../../src/bench/kernels.ts';
import { GpuClock } from '../../src/bench/timing.ts';
import { type RowSource, sharedRows } from '../../src/kernels/linear.ts';
import { PipelineCache } from '../../src/runtime/pipelines.ts';
import { gpu } from '../harness.ts';

const CEILINGS: Ceilings = { readGBs: 100, readBytes: 1, fmaTFLOPs: 1, dispatchUs: 1, roundTripUs: 1 };

describe.skipIf(gpu === undefined)('benchKernels', () => {
  let clock: GpuClock;
  let pipelines: PipelineCache;
  beforeAll(() => {
    if (gpu === undefined) return;
    clock = new GpuClock(gpu);
    pipelines = new PipelineCache(gpu.device);
  });
  afterAll(() => clock?.dispose());

  async function rows(cases: readonly BenchCase[]): Promise<KernelRow[]> {
    if (gpu === undefined) return [];
    const all: KernelRow[] = [];
    for await (const row of benchKernels(gpu, pipelines, clock, cases, CEILINGS)) all.push(row);
    return all;
  }

  const pick = (filter: string, batches = [1]) =>
    benchCases(gpu?.caps as NonNullable<typeof gpu>['caps'], {
      filter,
      shapes: 'small',
      batches,
      variants: false,
    });

  it('times dense and grouped products, attention and sampling', async () => {
    const cases = [
      ...pick('qkv_proj', [1, 64]),
      ...pick('moe.gate_up_proj', [1]),
      ...pick('moe.down_proj', [16]),
      ...pick('moe_down', [1]),
      ...pick('mfa_', [1]).filter((c) => c.shape.includes('batch 1,')),
      ...pick('sample'),
    ];
    for (const row of await rows(cases)) {
      expect(row, JSON.stringify(row)).toMatchObject({ status: 'ok' });
      if (row.status !== 'ok') continue;
      for (const value of [row.us, row.p10, row.p90, row.gbps, row.bandwidthPercent]) {
        expect(value).toBeGreaterThan(0);
      }
      expect(row.p10).toBeLessThanOrEqual(row.us);
      expect(row.us).toBeLessThanOrEqual(row.p90);
      expect(row.samples).toBeGreaterThanOrEqual(7);
    }
  });

  it('checks experts that lie in several buffers', async () => {
    const cases = [...pick('moe.gate_up_proj', [1]), ...pick('moe_down', [4])].map((one) => {
      const params = one.params as { shard: { expertCount: number }; source?: RowSource };
      // A shared expert has the last buffer for itself.
      const shared = sharedRows(params.source) > 0;
      const experts = params.shard.expertCount - (shared ? 1 : 0);
      const first = Math.ceil(experts / 2);
      const buffers = [first, experts - first, ...(shared ? [1] : [])];
      return { ...one, params: { ...params, buffers } as never };
    });
    for (const row of await rows(cases)) expect(row, JSON.stringify(row)).toMatchObject({ status: 'ok' });
  });

  it('does not time a kernel that fails a test shape', async () => {
    const [good] = pick('rmsnorm');
    const wrong = {
      ...good.kernel,
      reference(p: never, io: Parameters<typeof good.kernel.reference>[1]) {
        good.kernel.reference(p, io);
        io.f('y')[0] += 1;
      },
    };
    const [row] = await rows([{ ...good, kernel: wrong }]);
    expect(row).toMatchObject({ status: 'failed', reason: expect.stringContaining('test shape') });
    expect(row).not.toHaveProperty('us');
  });

  it('does not time a kernel that is wrong only at the shape to be timed', async () => {
    const [good] = pick('matvec o_proj');
    const wrong = {
      ...good.kernel,
      // As if the last rows were left out at this size.
      workgroups: (p: { N: number }, team: number) => {
        const [x, y, z] = good.kernel.workgroups(p, team);
        return [p.N === 896 ? x - 1 : x, y, z] as const;
      },
    };
    const [row] = await rows([{ ...good, kernel: wrong }]);
    expect(row).toMatchObject({ status: 'failed', reason: expect.stringMatching(/^y\[/) });
  });

  it('skips what the adapter has no room for', async () => {
    if (gpu === undefined) return;
    const [wq] = pick('wq');
    const small = { ...gpu, caps: { ...gpu.caps, maxBindingBytes: 1024 } };
    const skipped = benchKernels(small, pipelines, clock, [wq], CEILINGS);
    expect((await skipped.next()).value).toMatchObject({
      status: 'skipped',
      reason: expect.stringContaining('the adapter allows 1024'),
    });
  });
});

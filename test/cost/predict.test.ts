/** Prediction on made-up calibrations: what the laws say, how they are fitted, what is refused. */
import { describe, expect, it } from 'vitest';
import { lineThrough } from '../../src/bench/latencies.ts';
import { preset } from '../../src/config/index.ts';
import {
  bandwidthAt,
  calibrationNotes,
  type Heat,
  missShare,
  parseCalibration,
  passUs,
} from '../../src/cost/calibration.ts';
import { type FitPoint, fitLaw } from '../../src/cost/fit.ts';
import { boundOf, type Distances, type Law, termsOf, timeOf } from '../../src/cost/law.ts';
import { choosing, expectedTiles } from '../../src/cost/layouts_linear.ts';
import { lawOf, predict, predictRepeated } from '../../src/cost/predict.ts';
import { type Work, workOf } from '../../src/cost/work.ts';
import { BASELINE } from '../../src/kernels/kernel.ts';
import { dense } from '../../src/kernels/linear.ts';
import { matmul } from '../../src/kernels/matmul.ts';
import { matvec } from '../../src/kernels/matvec.ts';
import { PAGE } from '../../src/kernels/paged.ts';
import { stepsTogether } from '../../src/model/pace.ts';
import type { Plan } from '../../src/model/plan.ts';
import { planDecode } from '../../src/model/plans.ts';
import { weightLayout } from '../../src/weights/layout.ts';
import { madeUp, spread } from './made_up.ts';

/** 1 TB/s from memory, 4 TB/s from a cache of 16 MB; 100 units, 10 TFLOP/s. */
const READ = [
  { bytes: 1e6, ...spread(4000) },
  { bytes: 16e6, ...spread(4000) },
  { bytes: 64e6, ...spread(1000) },
  { bytes: 1e9, ...spread(1000) },
];
const MACHINE = {
  read: READ,
  write: [{ bytes: 1e6, ...spread(2000) }],
  units: 100,
  fma_tflops: spread(10),
  matrix_tflops: null,
};
const LAW: Law = {
  launch: 5,
  launchWarm: 4,
  launchCached: 3,
  bandwidth: 0.8,
  arithmetic: 0.5,
  workgroup: 0.1,
  iteration: 0.4,
  iterationCached: 0.2,
};

function work(rest: Partial<Work>): Work {
  return {
    family: 'f',
    cost: { flops: 0, bytesRead: 0, bytesWritten: 0 },
    ...{ streamed: 0, near: 0, workgroups: 1, depth: 0, groupFlops: 0, units: 'fma' },
    ...rest,
  };
}

const COLD: Distances = { weights: 1e9, code: 1e9 };

describe('bandwidth', () => {
  it('lies between measured sizes, and is the nearest beyond them', () => {
    expect(bandwidthAt(READ, 1)).toBe(4e6);
    expect(bandwidthAt(READ, 32e6)).toBeCloseTo(2e6, 0);
    expect(bandwidthAt(READ, 5e10)).toBe(1e6);
  });

  it('says how much misses the cache', () => {
    expect(missShare(READ, 1e6)).toBe(0);
    expect(missShare(READ, 1e9)).toBe(1);
    expect(missShare(READ, 32e6)).toBeCloseTo(1 / 3, 5);
    expect(missShare([{ bytes: 1e6, ...spread(10) }], 1)).toBe(1);
  });

  it('takes for cached what is read slowly only because it is little', () => {
    const curve = [{ bytes: 1e5, ...spread(500) }, ...READ];
    expect(bandwidthAt(curve, 1e5)).toBe(5e5);
    expect(missShare(curve, 1e5)).toBe(0);
    expect(missShare(curve, 32e6)).toBeCloseTo(1 / 3, 5);
  });
});

describe('the law', () => {
  it('is bytes over bandwidth for a large read', () => {
    const terms = termsOf(LAW, work({ streamed: 8e8, workgroups: 100 }), MACHINE, COLD);
    expect(terms.memory).toBeCloseTo(1000);
    expect(timeOf(terms)).toBeCloseTo(1005, 1);
    expect(boundOf(terms)).toBe('memory');
  });

  it('counts whole waves of workgroups', () => {
    const at = (workgroups: number) =>
      termsOf(LAW, work({ workgroups, groupFlops: 1e6 }), MACHINE, COLD).compute;
    expect(at(1)).toBe(at(100));
    expect(at(101)).toBeCloseTo(2 * at(100));
    // 100 units x 1e6 FLOPs at half of 10 TFLOP/s, and 0.1 for each wave.
    expect(at(100)).toBeCloseTo(20.1);
  });

  it('reads and starts faster from a cache', () => {
    const call = work({ streamed: 4e6, depth: 10 });
    const [cold, warm, cached] = [COLD, { weights: 1e9, code: 4e6 }, { weights: 4e6, code: 4e6 }].map((at) =>
      termsOf(LAW, call, MACHINE, at),
    );
    expect(warm).toEqual({ ...cold, launch: 4 });
    expect(cold).toMatchObject({ launch: 5, latency: 4 });
    expect(cold.memory).toBeCloseTo(5);
    expect(cached.launch).toBeCloseTo(3);
    expect(cached.latency).toBeCloseTo(2);
    expect(cached.memory).toBeCloseTo(1.25);
    expect(boundOf(cached)).toBe('launch');
  });
});

describe('fitting', () => {
  const shapes = [1, 40, 300, 4000].flatMap((workgroups) =>
    [1, 20, 300].map((depth) => ({
      workgroups,
      depth,
      // Not in one proportion to the FLOPs, or the two could not be told apart.
      streamed: workgroups * depth * (depth === 20 ? 65_536 : 1024),
      groupFlops: depth * 50_000,
    })),
  );
  const point = (shape: Partial<Work>, heat: Heat, noise = 1): FitPoint => {
    const made = work(shape);
    const weights = heat === 'cached' ? Math.min(1e6, made.streamed) : COLD.weights;
    const distances = { weights, code: heat === 'cold' ? COLD.code : 0 };
    return { work: made, heat, distances, us: noise * timeOf(termsOf(LAW, made, MACHINE, distances)) };
  };

  it('finds the law that made the times', () => {
    const points = shapes.flatMap((shape) =>
      (['cold', 'warm', 'cached'] as const).map((heat) => point(shape, heat)),
    );
    const law = fitLaw(points, MACHINE, 2);
    for (const { work: made, us, distances } of points) {
      expect(timeOf(termsOf(law, made, MACHINE, distances)) / us).toBeGreaterThan(0.95);
      expect(timeOf(termsOf(law, made, MACHINE, distances)) / us).toBeLessThan(1.05);
    }
    expect(law.bandwidth).toBeCloseTo(LAW.bandwidth, 1);
    expect(law.launch).toBeCloseTo(LAW.launch, 0);
    expect(law.launchWarm).toBeCloseTo(LAW.launchWarm, 0);
    expect(law.launchCached).toBeCloseTo(LAW.launchCached, 0);
    // Without probes that tell, nothing is faster from a cache.
    const plain = fitLaw(
      points.filter(({ heat }) => heat === 'cold'),
      MACHINE,
      2,
    );
    expect(plain).toMatchObject({ launchWarm: plain.launch, launchCached: plain.launch });
  });

  it('is near it with times that are off by 5 %, at shapes that it has not seen', () => {
    const noisy = shapes.map((shape, i) => point(shape, 'cold', 1 + 0.05 * ((i % 3) - 1)));
    const law = fitLaw(noisy, MACHINE, 2);
    for (const shape of [
      { workgroups: 120, depth: 60 },
      { workgroups: 2000, depth: 8 },
    ]) {
      const streamed = shape.workgroups * shape.depth * 4096;
      const unseen = point({ ...shape, streamed, groupFlops: shape.depth * 50_000 }, 'cold');
      const predicted = timeOf(termsOf(law, unseen.work, MACHINE, COLD));
      expect(Math.abs(predicted / unseen.us - 1)).toBeLessThan(0.1);
    }
  });
});

describe('choosing experts', () => {
  it('compares all with each other, or quarters of many and then those of the leading ones', () => {
    expect(choosing({ experts: 48, topK: 3 }, 128)).toEqual({ steps: 12, flops: 6 * 48 ** 2 });
    // 72 fours, then 8 of them with four experts each.
    expect(choosing({ experts: 288, topK: 8 }, 128)).toEqual({
      steps: 18 + 8,
      flops: 6 * (72 ** 2 + 32 ** 2),
    });
    expect(choosing({ experts: 80, topK: 20 }, 128).flops).toBe(6 * 80 ** 2);
  });
});

describe('expected tiles', () => {
  it('are those of drawing pairs one by one', () => {
    // Two pairs over two experts: both to one (1/4), one (1/2), none (1/4).
    expect(expectedTiles(2, 1 / 2, 1)).toBeCloseTo(1);
    expect(expectedTiles(2, 1 / 2, 2)).toBeCloseTo(0.75);
    expect(expectedTiles(48, 1 / 48, 64)).toBeCloseTo(1 - (47 / 48) ** 48);
    expect(expectedTiles(9, 1, 4)).toBe(3);
    expect(expectedTiles(20_000, 1 / 1000, 1)).toBeCloseTo(20, 6);
  });
});

const CAPS = { ...BASELINE, subgroups: true, subgroupMinSize: 32, subgroupMaxSize: 32 };

function plan(batch: number, context: number): Plan {
  const config = preset('step3-tiny');
  const layout = weightLayout(config, () => ({ format: 'bf16' }), CAPS.maxBindingBytes);
  const cache = { sequences: batch, maxContext: 4096, pages: (4096 / PAGE) * batch, kv: 'f16' } as const;
  return planDecode(config, { layout, cache, caps: CAPS, deterministic: false }, batch, context);
}

const calibration = (families: readonly string[]) => madeUp(families, LAW, MACHINE);

function familiesOf(...plans: readonly Plan[]): string[] {
  const options = { context: 4096, subgroup: 32, greedy: true };
  return plans.flatMap((each) => each.calls.map((call) => workOf(call, options).family));
}

describe('predictRepeated', () => {
  const call = { kernel: matvec, params: dense(4096, 1024, 1, { tile: 1 }), variant: matvec.variants[0] };
  const options = { context: 1, subgroup: 32, greedy: true };
  const known = calibration([workOf(call, options).family]);

  it('takes weights from memory where copies are more than a cache holds, and code from where the call left it', () => {
    const bytes = 4096 * 1024 * 2 + 4096 * 4; // weights and results
    const law = (weights: number, code: number) =>
      timeOf(termsOf(LAW, workOf(call, options), known, { weights, code }));
    expect(predictRepeated(call, known, { copies: 50, greedy: true })).toBeCloseTo(law(50 * bytes, bytes));
    expect(predictRepeated(call, known, { copies: 1, greedy: true })).toBeCloseTo(law(bytes, bytes));
    expect(law(50 * bytes, bytes)).toBeGreaterThan(law(bytes, bytes));
  });

  it('refuses a family that was not probed', () => {
    const other = { ...call, params: dense(4096, 1024, 4, { tile: 4 }) };
    expect(() => predictRepeated(other, known, { copies: 2, greedy: true })).toThrow(/kernel family 'matvec/);
  });
});

describe('predict', () => {
  const one = plan(1, 4096);
  const known = calibration(familiesOf(one, plan(4, 4096)));

  it('adds up its calls, what a pass takes and the gap between steps', () => {
    const step = predict(one, known, { context: 300 });
    const sum = step.calls.reduce((total, { us }) => total + us, 3);
    expect(step.calls).toHaveLength(one.calls.length);
    expect(step.gpuMs).toBeCloseTo(sum / 1e3);
    // Short steps share what a submit takes of the host and of the GPU's time.
    const together = stepsTogether(step.gpuMs + 0.015);
    expect(together).toBeGreaterThan(1);
    expect(step.hostMs).toBeCloseTo((20 / together + one.calls.length) / 1e3, 5);
    expect(step.tpotMs).toBeCloseTo(step.gpuMs + 0.015 / together, 5);
    const long = predict(one, { ...known, gap_us: spread(5000) }, { context: 300 });
    expect(long.tpotMs).toBeCloseTo(long.gpuMs + 5, 5);
    expect(long.hostMs).toBeCloseTo((20 + one.calls.length) / 1e3, 5);
    expect(step.tokensPerSecond).toBeCloseTo(1e3 / step.tpotMs);
    expect(step.mbuPercent).toBeCloseTo((step.bytes / (step.tpotMs * 1e6 * 1000)) * 100);
    const shares = Object.values(step.boundPercent).reduce((a, b) => a + b, 0);
    expect(shares).toBeCloseTo(100);
  });

  it('grows with the context and the batch, and does not count positions that are only planned for', () => {
    const [short, long] = [300, 4000].map((context) => predict(one, known, { context }));
    expect(long.gpuMs).toBeGreaterThan(short.gpuMs);
    expect(long.bytes).toBeGreaterThan(short.bytes);
    expect(predict(one, known, { context: 9999 }).bytes).toBe(predict(one, known, { context: 4096 }).bytes);
    expect(predict(plan(4, 4096), known, { context: 300 }).gpuMs).toBeGreaterThan(short.gpuMs);
  });

  it('starts sooner where the same code ran shortly before', () => {
    const law = { ...LAW, launch: 1000, launchWarm: 0, launchCached: 0 };
    const families = Object.fromEntries(
      Object.entries(known.families).map(([name, family]) => [name, { ...family, law }]),
    );
    const { num_hidden_layers } = preset('step3-tiny');
    const step = predict(plan(1, 4096), { ...known, families }, { context: 300 });
    // The whole step fits into the cache of 16 MB.
    expect(step.bytes).toBeLessThan(16e6);
    expect(Math.max(...step.calls.map(({ terms }) => terms.launch))).toBe(0);
    // None of it does: what runs once a step is cold, what runs in every layer is not while a layer fits.
    const read = [
      { bytes: (2 * step.bytes) / num_hidden_layers, ...spread(4000) },
      { bytes: (2.1 * step.bytes) / num_hidden_layers, ...spread(1000) },
    ];
    const tight = predict(plan(1, 4096), { ...known, families, read }, { context: 300 });
    const launch = (label: RegExp) =>
      tight.calls.filter((call) => label.test(call.label)).map((call) => call.terms.launch);
    expect(launch(/^embed_tokens$/)).toEqual([1000]);
    expect(launch(/wq$/).slice(1)).toEqual(
      launch(/wq$/)
        .slice(1)
        .map(() => 0),
    );
  });

  it('is bound by the host when that is slower', () => {
    const slow = { ...known, host_dispatch_us: spread(1000) };
    const step = predict(one, slow, { context: 300 });
    expect(step.bound).toBe('host');
    expect(step.tpotMs).toBe(step.hostMs);
  });

  it('names a family that is missing', () => {
    const some = calibration(familiesOf(one).filter((name) => !name.startsWith('moe_down')));
    expect(() => predict(one, some, { context: 300 })).toThrow(/calibration: expected .*moe_down/);
    // Nor does it take what every object has.
    expect(() => predict(one, calibration([]), { context: 300 })).toThrow(/calibration: /);
    // Those of compressed weights are probed when asked for.
    expect(() => lawOf(calibration([]), 'matvec_units subgroup all q8_0')).toThrow(
      /calibrate --formats q8_0/,
    );
  });

  it('has no law for kernels that no step runs', () => {
    const call = {
      kernel: { ...matmul, name: 'probe_read' as const },
      params: dense(1, 8, 1),
      variant: matmul.variants[0],
    };
    expect(() => workOf(call, { context: 1, subgroup: 8, greedy: true })).toThrow(/probe_read.*no law/);
  });
});

describe('differences that noise made negative', () => {
  const noisy = { ...calibration([]), pass_us: spread(-3) };

  it('count as nothing, and are told', () => {
    expect(passUs(noisy)).toBe(0);
    expect(passUs(calibration([]))).toBe(3);
    expect(calibrationNotes(noisy)).toEqual([
      expect.stringMatching(/a pass beside its calls .*-3\.0 us.*taken as 0/),
    ]);
    expect(calibrationNotes(calibration([]))).toEqual([]);
  });

  it('are told where short probes scatter, too', () => {
    const known = calibration(['one']);
    expect(calibrationNotes(known)).toEqual([]);
    const probes = [0, 1.4, 1.6, 400].map((scatter) => {
      const us = scatter > 100 ? 1000 : 6;
      const sides = { us, p10: us - scatter, p90: us + scatter };
      return { kernel: 'k', shape: 's', heat: 'cold', predicted_us: us, ...sides } as const;
    });
    const scattered = { ...known, families: { one: { ...known.families.one, probes } } };
    expect(calibrationNotes(scattered)).toEqual([expect.stringMatching(/short probes scatter by 1\.4 us/)]);
  });
});

describe('host times of steps', () => {
  const times = (median: number, off: number) => ({ median, p10: median - off, p90: median + off });

  it('are a start and a slope', () => {
    const { hostStep, hostDispatch } = lineThrough(times(28, 0), times(212, 0), 8, 192);
    expect(hostStep).toEqual(spread(20));
    expect(hostDispatch).toEqual(spread(1));
  });

  it('keep the order of percentiles, however much of them is noise', () => {
    for (const [few, many] of [
      [times(30, 20), times(40, 5)],
      [times(60, 3), times(40, 39)],
    ]) {
      for (const { p10, median, p90 } of Object.values(lineThrough(few, many, 8, 192))) {
        expect(p10).toBeLessThanOrEqual(median);
        expect(median).toBeLessThanOrEqual(p90);
        expect(p10).toBeGreaterThanOrEqual(0);
      }
    }
  });
});

describe('families', () => {
  const family = (rest: object) =>
    workOf(
      { kernel: matvec, params: { ...dense(64, 64, 1), ...rest }, variant: matvec.variants[0] },
      { context: 1, subgroup: 32, greedy: true },
    ).family;

  it('are the same for formats that differ in bytes alone', () => {
    expect(family({ format: 'f32' })).toBe(family({ format: 'bf16' }));
  });
});

describe('parseCalibration', () => {
  const good = calibration(['f']);

  it('takes what calibrate writes', () => {
    expect(parseCalibration(JSON.parse(JSON.stringify(good)))).toEqual(good);
  });

  it.each([
    ['an object', null, /calibration: expected an object/],
    ['a list', [], /calibration: expected an object/],
    ['another format', { ...good, format: 99 }, /format: expected 9 .*step3 calibrate/],
    ['no adapter', { ...good, adapter: 'x' }, /adapter: expected an object/],
    ['half an adapter', { ...good, adapter: { vendor: 'x' } }, /adapter.architecture: expected a string/],
    ['no curve', { ...good, read: [] }, /read: expected a list/],
    ['sizes that fall', { ...good, read: [...READ].reverse() }, /read\[1\].bytes: /],
    ['a rate of nothing', { ...good, fma_tflops: spread(0) }, /fma_tflops.median: /],
    ['text for a number', { ...good, units: '132' }, /units: expected a number/],
    ['half a spread', { ...good, gap_us: { median: 1 } }, /gap_us.p10: /],
    ['a clock', { ...good, clock: 'sun' }, /clock: expected 'gpu' or 'wall'/],
    ['no family', { ...good, families: { f: {} } }, /families.f.law: /],
    [
      'a law without a bandwidth',
      { ...good, families: { f: { ...good.families.f, law: { ...LAW, bandwidth: 0 } } } },
      /families.f.law.bandwidth: /,
    ],
  ])('refuses %s', (_, value, message) => {
    expect(() => parseCalibration(value, 'c.json')).toThrow(message);
    expect(() => parseCalibration(value, 'c.json')).toThrow(/^c\.json: /);
  });
});

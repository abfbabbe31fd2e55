/** Fits the law of a kernel family to its probes. */
import type { Heat } from './calibration.ts';
import type { Distances, Law, Machine } from './law.ts';
import { termsOf, timeOf } from './law.ts';
import type { Work } from './work.ts';

/** A measured call. */
export interface FitPoint {
  readonly work: Work;
  readonly us: number;
  readonly distances: Distances;
  readonly heat: Heat;
}

/** Names of the parameters in the order in which they are searched, by what the calls tell that they are searched with. */
const COLD = ['launch', 'bandwidth', 'arithmetic', 'workgroup', 'iteration'] as const;
const WARM = ['launchWarm'] as const;
const CACHED = ['launchCached', 'iterationCached'] as const;

/**
 * Bounds of shares: nothing is faster than plain reads and chains of multiply-adds by more than noise; and what reads at less
 * than a fifth of the bandwidth is not bound by it, though bytes and FLOPs of its probes may have grown together.
 */
const SHARES: Partial<Record<keyof Law, readonly [least: number, most: number]>> = {
  bandwidth: [0.2, 1.1],
  arithmetic: [0, 1.1],
};

/** How strongly parameters that no probe depends on are held where they began. */
const HOLD = 1e-4;

/**
 * The law whose logarithm of predicted over measured time is smallest in the mean of squares; first over the calls with
 * code and weights from memory, then what differs with code from caches, then with weights from there too.
 *
 * `dispatchUs`: time of the smallest dispatch, from which the search begins. `points` must not be empty.
 */
export function fitLaw(points: readonly FitPoint[], machine: Machine, dispatchUs: number): Law {
  const of = (heat: Heat) => points.filter((point) => point.heat === heat);
  const [cold, warm, cached] = [of('cold'), of('warm'), of('cached')];
  const start: Law = {
    launch: dispatchUs * 1.5,
    launchWarm: dispatchUs * 1.5,
    launchCached: dispatchUs * 1.5,
    bandwidth: 0.8,
    arithmetic: 0.3,
    workgroup: dispatchUs / 10,
    iteration: dispatchUs / 10,
    iterationCached: dispatchUs / 10,
  };
  const first = search(start, COLD, cold.length > 0 ? cold : points, machine);
  let law: Law = {
    ...first,
    launchWarm: first.launch,
    launchCached: first.launch,
    iterationCached: first.iteration,
  };
  if (cold.length === 0) return law;
  // What comes from a cache is not later than what comes from memory.
  if (warm.length > 0) {
    const launchWarm = Math.min(search(law, WARM, warm, machine).launchWarm, law.launch);
    law = { ...law, launchWarm, launchCached: launchWarm };
  }
  if (cached.length > 0) {
    const { launchCached, iterationCached } = search(law, CACHED, cached, machine);
    law = {
      ...law,
      launchCached: Math.min(launchCached, law.launchWarm),
      iterationCached: Math.min(iterationCached, law.iteration),
    };
  }
  return law;
}

function search(
  start: Law,
  names: readonly (keyof Law)[],
  points: readonly FitPoint[],
  machine: Machine,
): Law {
  const origin = names.map((name) => Math.log(Math.max(1e-6, start[name])));
  const lawOf = (at: readonly number[]): Law => {
    const law: Record<string, number> = { ...start };
    names.forEach((name, i) => {
      const [least, most] = SHARES[name] ?? [0, Number.POSITIVE_INFINITY];
      law[name] = Math.min(most, Math.max(least, Math.exp(at[i])));
    });
    return law as unknown as Law;
  };
  const loss = (at: readonly number[]): number => {
    const law = lawOf(at);
    let sum = 0;
    for (const { work, us, distances } of points) {
      sum += Math.log(timeOf(termsOf(law, work, machine, distances)) / us) ** 2;
    }
    return sum / points.length + HOLD * at.reduce((total, value, i) => total + (value - origin[i]) ** 2, 0);
  };
  let best: readonly number[] = origin;
  // Several beginnings, since one parameter can hide another.
  for (const step of [1, -1, 2, -2]) {
    for (let axis = 0; axis < names.length; axis++) {
      const from = origin.map((value, i) => (i === axis ? value + step : value));
      const found = descend(loss, from, 400);
      if (loss(found) < loss(best)) best = found;
    }
  }
  return lawOf(descend(loss, best, 1500));
}

/** Nelder and Mead's simplex search (1965), from a simplex of side 1/2 around `from`. */
function descend(
  loss: (at: readonly number[]) => number,
  from: readonly number[],
  evaluations: number,
): readonly number[] {
  const made = (at: readonly number[]) => ({ at, value: loss(at) });
  const simplex = [
    made(from),
    ...from.map((_, axis) => made(from.map((value, i) => (i === axis ? value + 0.5 : value)))),
  ];
  for (let spent = simplex.length; spent < evaluations; ) {
    simplex.sort((a, b) => a.value - b.value);
    const worst = simplex[simplex.length - 1];
    if (worst.value - simplex[0].value < 1e-12) break;
    const centre = from.map(
      (_, i) => simplex.slice(0, -1).reduce((sum, { at }) => sum + at[i], 0) / (simplex.length - 1),
    );
    const along = (t: number) => made(centre.map((value, i) => value + t * (worst.at[i] - value)));
    let next = along(-1);
    spent++;
    if (next.value < simplex[0].value) {
      const further = along(-2);
      spent++;
      if (further.value < next.value) next = further;
    } else if (next.value >= simplex[simplex.length - 2].value) {
      next = along(next.value < worst.value ? -0.5 : 0.5);
      spent++;
    }
    if (next.value < worst.value) {
      simplex[simplex.length - 1] = next;
      continue;
    }
    for (let i = 1; i < simplex.length; i++) {
      simplex[i] = made(simplex[i].at.map((value, j) => (value + simplex[0].at[j]) / 2));
      spent++;
    }
  }
  simplex.sort((a, b) => a.value - b.value);
  return simplex[0].at;
}

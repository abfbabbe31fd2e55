/** Calibrations that nobody has measured. */
import {
  CALIBRATION_FORMAT,
  type CalibratedAdapter,
  type Calibration,
  type Family,
  type ProbeRow,
} from '../../src/cost/calibration.ts';
import type { Law, Machine } from '../../src/cost/law.ts';

export const spread = (median: number) => ({ median, p10: median, p90: median });

const ADAPTER: CalibratedAdapter = {
  ...{ vendor: 'v', architecture: 'a', device: 'd', description: 'x', bounds_checks: true },
  subgroup: 32,
};

/** One with the same law for all `families`. */
export function madeUp(
  families: readonly string[],
  law: Law,
  machine: Machine,
  adapter: CalibratedAdapter = ADAPTER,
): Calibration {
  const probes: ProbeRow[] = [
    { kernel: 'k', shape: 's', heat: 'cold', us: 1, p10: 1, p90: 1, predicted_us: 1 },
  ];
  const family: Family = { law, error_median: 0, error_p90: 0, probes };
  return {
    ...{ format: CALIBRATION_FORMAT, adapter },
    ...{ date: '', seconds: 1, clock: 'gpu', timer_ns: 1, ...machine, fma_f16_tflops: null },
    ...{ dispatch_us: spread(2), independent_us: spread(1), pass_us: spread(3) },
    ...{ round_trip_us: spread(30), gap_us: spread(15), host_step_us: spread(20) },
    host_dispatch_us: spread(1),
    families: Object.fromEntries(families.map((name) => [name, family])),
  };
}

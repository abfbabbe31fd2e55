/** What the benchmark of kernels says of the calibration beside its times. */
import type { BenchCase } from '../bench/cases.ts';
import type { Calibration } from '../cost/calibration.ts';
import { predictRepeated } from '../cost/predict.ts';
import { ConfigError, Step3Error } from '../errors.ts';
import type { SampleParams } from '../kernels/sample.ts';
import type { Gpu } from '../runtime/device.ts';
import { calibrationFor } from './calibration_store.ts';
import { oneLine } from './errors.ts';

/** Predicts rows, or says why there are no predictions. */
export interface RowPredictor {
  /** Why no row is predicted; undefined where rows are. */
  readonly reason: string | undefined;
  /** Microseconds of a case over `copies` of its weights and caches; undefined where nothing is known of its kind. */
  us(row: BenchCase, copies: number): number | undefined;
}

/**
 * By the calibration in `file`, or the adapter's own, whose faults are then a reason and no error.
 *
 * @throws what is wrong with `file`.
 */
export async function rowPredictor(
  gpu: Pick<Gpu, 'info'>,
  boundsChecks: boolean,
  file: string | undefined,
): Promise<RowPredictor> {
  let calibration: Calibration | undefined;
  let fault: string | undefined;
  try {
    calibration = await calibrationFor(gpu, boundsChecks, file);
  } catch (error) {
    if (file !== undefined || !(error instanceof ConfigError)) throw error;
    fault = oneLine(error);
  }
  const flags = boundsChecks ? '' : ' --unsafe-fast';
  const missing = `this adapter is not calibrated: step3 calibrate${flags}`;
  return {
    reason: calibration === undefined ? (fault ?? missing) : undefined,
    us: (row, copies) => (calibration === undefined ? undefined : predicted(row, copies, calibration)),
  };
}

function predicted(row: BenchCase, copies: number, calibration: Calibration): number | undefined {
  // Of several rows to sample, some are drawn.
  const greedy = row.kernel.name !== 'sample' || (row.params as SampleParams).rows === 1;
  try {
    return predictRepeated(row, calibration, { copies, greedy });
  } catch (error) {
    if (error instanceof Step3Error) return undefined; // a family that was not probed
    throw error;
  }
}

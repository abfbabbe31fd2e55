/** What the benchmark of kernels says of the calibration beside its times. */
import type { BenchCase } from '../bench/cases.ts';
import type { KernelRow } from '../bench/kernels.ts';
import { type Compared, compared } from '../bench/validate.ts';
import type { Calibration } from '../cost/calibration.ts';
import { predictRepeated } from '../cost/predict.ts';
import { Step3Error } from '../errors.ts';
import type { SampleParams } from '../kernels/sample.ts';
import type { Gpu } from '../runtime/device.ts';
import { calibrationFor, notCalibrated, readCalibration } from './calibration_store.ts';
import { oneLine } from './errors.ts';

/** Predicts rows, or says why there are no predictions. */
export interface RowPredictor {
  /** Why no row is predicted; undefined where rows are. */
  readonly reason: string | undefined;
  /** The row of a case beside its prediction, in microseconds; undefined where nothing is known of its kind. */
  compare(wanted: BenchCase, row: KernelRow): Compared | undefined;
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
  const none = (reason: string): RowPredictor => ({ reason, compare: () => undefined });
  try {
    const given = file === undefined ? undefined : await readCalibration(file);
    const calibration = await calibrationFor(gpu, boundsChecks, given);
    if (calibration === undefined) return none(notCalibrated(boundsChecks));
    return { reason: undefined, compare: (wanted, row) => prediction(wanted, row, calibration) };
  } catch (error) {
    if (file === undefined && error instanceof Step3Error) return none(oneLine(error));
    throw error;
  }
}

function prediction(wanted: BenchCase, row: KernelRow, calibration: Calibration): Compared | undefined {
  if (row.status !== 'ok') return undefined;
  // Of several rows to sample, some are drawn.
  const greedy = wanted.kernel.name !== 'sample' || (wanted.params as SampleParams).rows === 1;
  try {
    return compared(predictRepeated(wanted, calibration, { copies: row.copies, greedy }), row.us);
  } catch (error) {
    if (error instanceof Step3Error) return undefined; // a family that was not probed
    throw error;
  }
}

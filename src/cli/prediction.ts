/** The prediction that `run` and `demo` close with. */
import { predict } from '../cost/predict.ts';
import { Step3Error } from '../errors.ts';
import { GpuExecutor } from '../runtime/gpu_executor.ts';
import type { Model } from '../runtime/model.ts';
import { notCalibrated, storedCalibration } from './calibration_store.ts';
import { oneLine } from './errors.ts';

/** Which steps were run. */
export interface RunSteps {
  readonly batch: number;
  /** Positions attended to, in the middle of the generation. */
  readonly context: number;
  readonly greedy: boolean;
  readonly boundsChecks: boolean;
}

/** Milliseconds per token as predicted, or why there is no prediction. */
export type TpotPrediction = { readonly ms: number } | { readonly reason: string };

/** Predicts TPOT by the adapter's stored calibration. Whatever is wrong with that is the reason, and no error. */
export async function predictTpot(model: Model, steps: RunSteps): Promise<TpotPrediction> {
  const { executor } = model;
  if (!(executor instanceof GpuExecutor)) return { reason: 'predictions are for GPUs' };
  try {
    const calibration = await storedCalibration(executor.gpu, steps.boundsChecks);
    if (calibration === undefined) return { reason: notCalibrated(steps.boundsChecks) };
    const { plan } = await model.decodePlan(steps.batch, steps.context);
    return { ms: predict(plan, calibration, steps).tpotMs };
  } catch (error) {
    if (error instanceof Step3Error) return { reason: oneLine(error) };
    throw error;
  }
}

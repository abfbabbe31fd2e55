/** Where the time of a decoding step goes: every call timed on its own, summed over layers. */
import { DeviceError } from '../errors.ts';
import type { KernelCall } from '../model/plan.ts';
import type { Model } from '../runtime/model.ts';
import type { Ceilings } from './ceilings.ts';
import { callBytes, type DecodeCase, gpuOf, resolveSpans, withSequences, writeTokens } from './decode.ts';
import { quantile } from './timing.ts';

/** Calls that compute the same in different layers. */
export interface ProfileRow {
  /** The checkpoint's words with `*` for the layer, e.g. `layers.*.wq`. */
  readonly label: string;
  readonly kernel: string;
  readonly calls: number;
  /** Microseconds of all of them in one step. */
  readonly us: number;
  /** Of the sum over all calls. */
  readonly sharePercent: number;
  readonly gbps: number;
  readonly readPercent: number;
}

/** Most steps of which each call's median is taken. */
const ROUNDS = 5;

/**
 * Profiles one case, the slowest first. A pass per call costs time of its own, so the sum exceeds a step.
 *
 * @throws DeviceError without timestamps or for what the device reports; otherwise as `benchDecode`.
 */
export async function profileDecode(
  model: Model,
  wanted: DecodeCase,
  ceilings: Ceilings,
): Promise<ProfileRow[]> {
  const executor = gpuOf(model);
  if (!executor.gpu.timestamps) throw new DeviceError('a profile needs the feature timestamp-query');
  const count = Math.min(ROUNDS, wanted.steps);
  return withSequences(model, { ...wanted, steps: count }, async () => {
    const prepared = await model.decodePlan(wanted.batch, wanted.context + count);
    const { calls } = prepared.plan;
    const querySet = executor.gpu.device.createQuerySet({ type: 'timestamp', count: 2 * calls.length });
    try {
      const rounds: number[][] = [];
      for (let round = 0; round <= count; round++) {
        if (wanted.spread === true) writeTokens(model, wanted.batch, round);
        await executor.run(prepared, [], { querySet, first: 0, perCall: true });
        rounds.push(await resolveSpans(executor, querySet, calls.length));
      }
      // The first round is not counted.
      const times = calls.map((_, i) =>
        quantile(
          rounds.slice(1).map((round) => round[i]),
          0.5,
        ),
      );
      return summed(calls, times, wanted.context, ceilings);
    } finally {
      querySet.destroy();
    }
  });
}

function summed(
  calls: readonly KernelCall[],
  times: readonly number[],
  context: number,
  ceilings: Ceilings,
): ProfileRow[] {
  const groups = new Map<
    string,
    { label: string; kernel: string; calls: number; us: number; bytes: number }
  >();
  calls.forEach((call, i) => {
    const label = call.label.replace(/^layers\.\d+\./, 'layers.*.');
    const key = `${label} ${call.kernel.name}`;
    const group = groups.get(key) ?? { label, kernel: call.kernel.name, calls: 0, us: 0, bytes: 0 };
    group.calls++;
    group.us += times[i];
    group.bytes += callBytes(call, context);
    groups.set(key, group);
  });
  const total = times.reduce((a, b) => a + b, 0);
  return [...groups.values()]
    .sort((a, b) => b.us - a.us)
    .map(({ bytes, ...group }) => {
      const gbps = bytes / group.us / 1e3;
      const readPercent = (gbps / ceilings.readGBs) * 100;
      return { ...group, sharePercent: (group.us / total) * 100, gbps, readPercent };
    });
}

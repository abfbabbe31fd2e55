/** A progress bar on stderr, for people only. */
import { Presets, SingleBar } from 'cli-progress';

/** Where a long operation reports how far it is. */
export interface Progress {
  update(done: number, total: number): void;
  stop(): void;
}

/** A bar when stderr is a terminal and `quiet` is not set; otherwise nothing is shown. */
export function progress(label: string, quiet: boolean): Progress {
  if (quiet || process.stderr.isTTY !== true) return { update() {}, stop() {} };
  const bar = new SingleBar(
    { format: `${label} {bar} {percentage}% {eta_formatted}`, stream: process.stderr, clearOnComplete: true },
    Presets.shades_classic,
  );
  let started = false;
  return {
    update(done, total) {
      if (!started) bar.start(total, done);
      else bar.update(done);
      started = true;
    },
    stop() {
      if (started) bar.stop();
    },
  };
}

/** Seconds of silence after which a wait is explained. */
const PATIENCE_MS = 3000;

/** Says why nothing is seen yet if `stop` is not called soon; under the same conditions as a bar. */
export function explainWait(reason: string, quiet: boolean): { stop(): void } {
  if (quiet || process.stderr.isTTY !== true) return { stop() {} };
  const timer = setTimeout(() => process.stderr.write(`${reason}\n`), PATIENCE_MS);
  return { stop: () => clearTimeout(timer) };
}

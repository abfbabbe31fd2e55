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

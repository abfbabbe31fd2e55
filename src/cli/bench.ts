/** `step3 bench`: speeds, beside what the adapter can do at best. */
import { Command } from 'commander';
import { benchDecodeCommand } from './bench_decode.ts';
import { benchKernelsCommand } from './bench_kernels.ts';
import { benchPrefillCommand } from './bench_prefill.ts';
import { EXIT_HELP } from './errors.ts';

/** The command's definition. */
export function benchCommand(): Command {
  const bench = new Command('bench')
    .description('Measure single kernels, whole decoding steps, or how long prompts take to be read.')
    .addHelpText('after', '\nExample:\n  step3 bench kernels --filter matvec');
  for (const command of [benchKernelsCommand(), benchDecodeCommand(), benchPrefillCommand()]) {
    // As for the commands above it: errors are reported in one place and on one line.
    command.exitOverride().configureOutput({ outputError: () => {} });
    bench.addCommand(command.addHelpText('after', EXIT_HELP));
  }
  return bench;
}

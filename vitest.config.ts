import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** What takes minutes where a software adapter has compiled nothing yet: first, so that the last files are short ones. */
const LONGEST = [
  /runtime\/golden/,
  /kernels\/m/,
  /(runtime|stories)\/|model\/shapes|cli\/calibrate/,
  /kernels\//,
];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification) =>
      [...LONGEST, /./].findIndex((pattern) => pattern.test(moduleId));
    return (await super.sort(files)).sort((a, b) => place(a) - place(b));
  }
}

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // A software adapter compiles some pipelines for many seconds.
    testTimeout: 300_000,
    hookTimeout: 60_000,
    // Each file opens its own device; two at a time fit two cores and keep software adapters responsive.
    pool: 'forks',
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
    // Leaves processors to software adapters, which compute and compile on them, and lets Mesa's compile in fewer passes: an
    // empty shader cache is what takes tests longest.
    env: { STEP3_REST: '1', GALLIVM_PERF: 'nopt' },
  },
});

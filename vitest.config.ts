import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // A software adapter compiles some pipelines for many seconds.
    testTimeout: 300_000,
    hookTimeout: 60_000,
    // Each file opens its own device; two at a time fit two cores and keep software adapters responsive.
    pool: 'forks',
    maxWorkers: 2,
  },
});

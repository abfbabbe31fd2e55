// Prints `N passed, N failed, N skipped` from vitest's JSON report and exits 1 when that is no success: something
// failed, nothing passed, or every kernel test was skipped (without an adapter nothing is proven about the GPU; the tests
// of the runtime also run on the CPU interpreter, so that they cannot tell).
import { existsSync, readFileSync } from 'node:fs';

/** @typedef {{ name: string, status: string, assertionResults: { status: string }[] }} TestFile */

/** @returns {TestFile[]} */
function readFiles() {
  const path = process.argv[2];
  if (path === undefined || !existsSync(path)) return [];
  try {
    return JSON.parse(readFileSync(path, 'utf8')).testResults ?? [];
  } catch {
    // A report cut short counts as none.
    return [];
  }
}

const files = readFiles();
let kernels = 0;
let passed = 0;
let failed = 0;
let skipped = 0;
for (const { name, status, assertionResults } of files) {
  const ofKernel = /[\\/]test[\\/]kernels[\\/]/.test(name);
  for (const test of assertionResults) {
    if (test.status === 'passed') {
      passed++;
      if (ofKernel) kernels++;
    } else if (test.status === 'failed') failed++;
    else skipped++;
  }
  // A file that could not be loaded has no tests to count.
  if (status === 'failed' && !assertionResults.some((test) => test.status === 'failed')) failed++;
}
if (kernels === 0) console.error('no kernel test ran on a GPU: is there an adapter? (step3 doctor)');
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
if (failed > 0 || passed === 0 || kernels === 0) process.exitCode = 1;

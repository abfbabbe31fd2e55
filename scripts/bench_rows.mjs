// The rows of `step3 bench … --output FILE.jsonl`.
import { readFileSync } from 'node:fs';

/**
 * All rows of a file, in their order.
 *
 * @param {string} file
 */
export function readRows(file) {
  const lines = readFileSync(file, 'utf8').split('\n');
  return lines.filter((line) => line !== '').map((line) => JSON.parse(line));
}

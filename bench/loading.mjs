// How fast a checkpoint streams to the GPU, beside plain reading of its files: `node bench/loading.mjs DIR [ROUNDS]`,
// after `node scripts/build.mjs`. Before every measurement the files are dropped from the page cache where `dd` can do
// that (GNU coreutils); `--cached` keeps them there. A software adapter takes most of the first load to clear new buffers.
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';

const { openCheckpoint } = await import('../dist/weights/checkpoint.js');
const { checkpointFormats, weightLayout } = await import('../dist/weights/layout.js');
const { directorySource } = await import('../dist/weights/source_node.js');
const { GpuExecutor } = await import('../dist/runtime/gpu_executor.js');
const { loadWeights } = await import('../dist/runtime/load.js');
const { openDevice } = await import('../dist/runtime/device.js');

const [dir, rounds = '3'] = process.argv.slice(2).filter((arg) => !arg.startsWith('--'));
if (dir === undefined) throw new Error('usage: node bench/loading.mjs DIR [ROUNDS] [--cached]');
const files = readdirSync(dir)
  .filter((name) => name.endsWith('.safetensors'))
  .map((name) => join(dir, name));

/** Forgets what the page cache holds of the files. */
function drop() {
  if (process.argv.includes('--cached')) return;
  for (const file of files) {
    execFileSync('dd', [`of=${file}`, 'oflag=nocache', 'conv=notrunc,fdatasync', 'count=0', 'status=none']);
  }
}

/** Reads every byte, 16 MiB at a time, four reads under way. */
async function plain() {
  const size = 16 * 1024 * 1024;
  let bytes = 0;
  for (const file of files) {
    const handle = await open(file, 'r');
    const { size: length } = await handle.stat();
    let next = 0;
    const worker = async () => {
      const buffer = new Uint8Array(size);
      while (next < length) {
        const at = next;
        next += size;
        const { bytesRead } = await handle.read(buffer, 0, Math.min(size, length - at), at);
        bytes += bytesRead;
      }
    };
    await Promise.all([worker(), worker(), worker(), worker()]);
    await handle.close();
  }
  return bytes;
}

/**
 * Checks, packs and, unless `executor` throws bytes away, uploads every weight.
 * @param {any} executor
 * @param {number} limit
 */
async function loading(executor, limit) {
  const checkpoint = await openCheckpoint(directorySource(dir));
  try {
    const layout = weightLayout(checkpoint.config, checkpointFormats(checkpoint), limit);
    await loadWeights(executor, checkpoint, layout);
    return checkpoint.bytes;
  } finally {
    await checkpoint.close();
  }
}

/** An executor that throws everything away. */
const nowhere = { ensure() {}, write() {}, idle: async () => {}, upload: noUpload };

/** Rooms that all are the same memory: each is written before the next one is. */
function noUpload() {
  let memory = new Uint8Array(0);
  const room = async (
    /** @type {string} */ _slot,
    /** @type {number} */ _offset,
    /** @type {number} */ bytes,
  ) => {
    if (memory.length < bytes) memory = new Uint8Array(bytes);
    return { bytes: memory.subarray(0, bytes), send() {} };
  };
  return { room, arrived: async () => {}, dispose() {} };
}

/**
 * @param {string} what
 * @param {() => Promise<number>} run gives bytes
 */
async function timed(what, run) {
  drop();
  const begin = performance.now();
  const before = process.cpuUsage();
  const bytes = await run();
  const seconds = (performance.now() - begin) / 1000;
  const { user, system } = process.cpuUsage(before);
  const cpu = `${((user + system) / 1e6).toFixed(2)} CPU s (${(system / 1e6).toFixed(2)} of the system)`;
  console.log(
    `${what.padEnd(28)} ${seconds.toFixed(2)} s  ${(bytes / seconds / 1e9).toFixed(2)} GB/s  ${cpu}`,
  );
}

for (let round = 0; round < Number(rounds); round++) {
  await timed('plain reading', plain);
  await timed('read, checked and packed', () => loading(nowhere, 2 ** 31));
  if (process.argv.includes('--no-gpu')) continue;
  const executor = new GpuExecutor(await openDevice());
  await timed('loaded onto the GPU', () => loading(executor, executor.caps.maxBindingBytes));
  await timed('again, same buffers', () => loading(executor, executor.caps.maxBindingBytes));
  executor.dispose();
}
process.exit(0);

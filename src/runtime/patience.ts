/**
 * Waiting for a device in Node. Dawn asks the device again and again for as long as anything waits, without a pause, which
 * takes a whole processor: nothing is faster with a GPU, but a software adapter computes and compiles on the same processors.
 *
 * It is asked for by `STEP3_REST=1`, as tests do: processors that nothing keeps awake take longer to begin, so that the
 * times of short dispatches scatter, and calibrations with them.
 */

/** Rests between two looks at the device, in ms: the first, by how much each is longer than the one before, the longest. */
const FIRST = 0.05;
const GROWTH = 1.05;
const LONGEST = 5;

let waits = 0;
let turning = false;
let rest = FIRST;
let never: Int32Array | undefined;

/**
 * `work`, which a device has to do; if it `rests`, the thread does so meanwhile, each time for about a twentieth of how long
 * it has waited. Other tasks of the thread get their turn between the rests.
 */
export function patiently<T>(gpu: { readonly rests: boolean }, work: Promise<T>): Promise<T> {
  return gpu.rests ? resting(work) : work;
}

async function resting<T>(work: Promise<T>): Promise<T> {
  waits++;
  if (!turning) nextTurn();
  try {
    return await work;
  } finally {
    waits--;
    // Of several waits together each may be short.
    rest = FIRST;
  }
}

function nextTurn(): void {
  turning = true;
  // Must not keep a process alive by itself, should a device never answer.
  setImmediate(turn).unref();
}

function turn(): void {
  turning = false;
  if (waits === 0) return;
  // Made late, since not every page in a browser has shared memory.
  never ??= new Int32Array(new SharedArrayBuffer(4));
  Atomics.wait(never, 0, 0, rest);
  rest = Math.min(rest * GROWTH, LONGEST);
  nextTurn();
}

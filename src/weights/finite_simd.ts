/**
 * Passes over blocks of finite weights with 128-bit instructions of WebAssembly, in about half of the time that
 * JavaScript takes. Where they are missing nothing is passed over.
 */

/** A 32-bit word is found when `((word & exponent) + one) & carry` is not 0. */
export interface WordTest {
  readonly exponent: number;
  readonly one: number;
  readonly carry: number;
}

/** Bytes of a block: the memory of the module. */
const BLOCK = 64 * 1024;

const I32 = 0x7f;
const V128 = 0x7b;
const SIMD = 0xfd;
const GET = 0x20;
const SET = 0x21;

/**
 * test(exponent, one, carry) tells whether a word of the block is found:
 *
 *     do found |= (block[at] & exponent) + one; while ((at += 16) < BLOCK)
 *     return any(found & carry)
 */
// biome-ignore format: one instruction after another
const TEST = [
  2, 1, I32, 3, V128, // locals after the parameters 0 to 2: 3 at, 4 exponent, 5 one, 6 found
  GET, 0, SIMD, 0x11, SET, 4, // i32x4.splat
  GET, 1, SIMD, 0x11, SET, 5,
  0x03, 0x40, // loop
  GET, 6,
  GET, 3, SIMD, 0x00, 4, 0, // v128.load
  GET, 4, SIMD, 0x4e, // v128.and
  GET, 5, SIMD, 0xae, 1, // i32x4.add
  SIMD, 0x50, // v128.or
  SET, 6,
  GET, 3, 0x41, 16, 0x6a, 0x22, 3, // i32.add, local.tee
  0x41, 0x80, 0x80, 4, 0x49, // i32.const BLOCK, i32.lt_u
  0x0d, 0, 0x0b, // br_if the loop, end
  GET, 6, GET, 2, SIMD, 0x11, SIMD, 0x4e,
  SIMD, 0x53, 0x0b, // v128.any_true, end
];

// biome-ignore format: one section to a line
const MODULE = Uint8Array.of(
  0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, // version 1
  1, 8, 1, 0x60, 3, I32, I32, I32, 1, I32, // a type: three words to one
  3, 2, 1, 0, // a function of it
  5, 3, 1, 0, 1, // a memory of one page
  7, 16, 2, 5, 0x62, 0x6c, 0x6f, 0x63, 0x6b, 2, 0, 4, 0x74, 0x65, 0x73, 0x74, 0, 0, // exports "block", "test"
  10, TEST.length + 2, 1, TEST.length, ...TEST,
);

interface Scan {
  readonly block: Uint8Array;
  readonly test: (exponent: number, one: number, carry: number) => number;
}

let scan: Scan | undefined | null = null;

/** The module; undefined where the host has no such instructions or forbids WebAssembly. */
function instantiate(): Scan | undefined {
  try {
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(MODULE));
    const block = new Uint8Array((exports.block as WebAssembly.Memory).buffer);
    return { block, test: exports.test as Scan['test'] };
  } catch {
    return undefined;
  }
}

/** How many bytes from the first hold no word that the test finds: whole blocks, up to the first that holds one. */
export function skipClear(bytes: Uint8Array, { exponent, one, carry }: WordTest): number {
  if (scan === null) scan = instantiate();
  let at = 0;
  if (scan === undefined) return at;
  for (; at + BLOCK <= bytes.length; at += BLOCK) {
    scan.block.set(bytes.subarray(at, at + BLOCK));
    if (scan.test(exponent, one, carry) !== 0) break;
  }
  return at;
}

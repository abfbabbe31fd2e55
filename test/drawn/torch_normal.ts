/**
 * Normally distributed numbers as PyTorch draws them on a CPU: MT19937 (Matsumoto and Nishimura, 1998), of whose words the
 * lowest 24 bits are uniform numbers, and the Box–Muller transform over 16 of these at a time.
 */

const N = 624;
const M = 397;

/** The generator after `torch.manual_seed(seed)`. */
export class Mt19937 {
  readonly #state = new Uint32Array(N);
  #next = N;

  constructor(seed: number) {
    this.#state[0] = seed;
    for (let i = 1; i < N; i++) {
      const before = this.#state[i - 1] ^ (this.#state[i - 1] >>> 30);
      this.#state[i] = Math.imul(before, 1812433253) + i;
    }
  }

  /** The next 24 bits as a number in [0, 1). */
  uniform(): number {
    if (this.#next === N) this.#twist();
    let y = this.#state[this.#next++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    y ^= y >>> 18;
    return (y & 0xffffff) * 2 ** -24;
  }

  /** Leaves out `count` numbers. */
  skip(count: number): void {
    let rest = count;
    while (rest > 0) {
      if (this.#next === N) this.#twist();
      const step = Math.min(rest, N - this.#next);
      this.#next += step;
      rest -= step;
    }
  }

  #twist(): void {
    const s = this.#state;
    for (let i = 0; i < N; i++) {
      const y = (s[i] & 0x80000000) | (s[(i + 1) % N] & 0x7fffffff);
      s[i] = s[(i + M) % N] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.#next = 0;
  }
}

const { fround } = Math;
const TURN = fround(2 * Math.PI);

/** `torch.randn(count) * std + mean`; `count` must be a multiple of 16, as beyond that PyTorch draws anew. */
export function normals(
  random: Mt19937,
  count: number,
  std: number,
  mean: number,
): Float32Array<ArrayBuffer> {
  if (count % 16 !== 0) throw new RangeError(`${count} numbers are not drawn in whole chunks of 16`);
  const out = new Float32Array(count);
  for (let i = 0; i < count; i++) out[i] = random.uniform();
  for (let chunk = 0; chunk < count; chunk += 16) {
    for (let i = chunk; i < chunk + 8; i++) {
      const radius = fround(Math.sqrt(-2 * fround(Math.log(1 - out[i]))));
      const angle = fround(TURN * out[i + 8]);
      out[i] = fround(radius * fround(Math.cos(angle))) * std + mean;
      out[i + 8] = fround(radius * fround(Math.sin(angle))) * std + mean;
    }
  }
  return out;
}

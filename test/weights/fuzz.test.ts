/** Seeded damage to a small file: whatever the bytes, only a typed error comes out, or a valid header. */
import { expect, it } from 'vitest';
import { Step3Error } from '../../src/errors.ts';
import { encodeSafetensors, readHeader } from '../../src/weights/safetensors.ts';
import { memoryFile } from '../../src/weights/source.ts';

const CASES = 4000;

/** Bytes that matter to a JSON header. */
const BYTES = [
  ...new TextEncoder().encode('{}[]",:\\0123456789-+.eE nulltruefalse'),
  0,
  0x7f,
  0x80,
  0xc3,
  0xff,
];

const SEED_FILE = encodeSafetensors(
  [
    { name: 'model.a', dtype: 'F32', shape: [2, 3], bytes: new Uint8Array(24) },
    { name: 'model.b', dtype: 'BF16', shape: [4], bytes: new Uint8Array(8) },
    { name: 'model.c', dtype: 'U8', shape: [], bytes: new Uint8Array(1) },
  ],
  { format: 'pt' },
);

/** Park and Miller's generator: small, and the same everywhere. */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 48271) % 2147483647;
    return state % below;
  };
}

function damage(random: (below: number) => number): Uint8Array {
  const bytes = [...SEED_FILE];
  for (let edits = 1 + random(4); edits > 0; edits--) {
    const at = random(bytes.length);
    const byte = BYTES[random(BYTES.length)];
    switch (random(5)) {
      case 0:
        bytes[at] = byte;
        break;
      case 1:
        bytes.splice(at, 1 + random(8));
        break;
      case 2:
        bytes.splice(at, 0, byte);
        break;
      case 3:
        bytes.splice(at, 0, ...bytes.slice(at, at + random(40)));
        break;
      case 4:
        bytes[random(8)] = random(256);
        break;
    }
    if (bytes.length === 0) return Uint8Array.of();
  }
  // Half the time the length is made right again, so that the damage reaches the JSON.
  const file = Uint8Array.from(bytes);
  const end = file.lastIndexOf(0x7d) + 1;
  if (random(2) === 0 && end > 8) new DataView(file.buffer).setBigUint64(0, BigInt(end - 8), true);
  return file;
}

it(`survives ${CASES} damaged headers`, async () => {
  const random = generator(20240817);
  let refused = 0;
  for (let i = 0; i < CASES; i++) {
    const file = damage(random);
    try {
      const { tensors } = await readHeader(memoryFile('x.safetensors', file));
      const end = tensors.reduce((sum, { begin, bytes }) => Math.max(sum, begin + bytes), 0);
      if (tensors.length > 0) expect(end).toBe(file.length);
    } catch (error) {
      if (!(error instanceof Step3Error)) throw error;
      expect(error.message).toContain('x.safetensors');
      refused++;
    }
  }
  expect(refused).toBeGreaterThan(CASES / 2);
}, 5000);

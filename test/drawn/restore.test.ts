import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { fixture, fixtureSource, readFixture } from '../golden.ts';
import { restore } from './restore.ts';
import { Mt19937 } from './torch_normal.ts';

it('MT19937 gives what the C++ standard says: number 10,000 after seed 5489 is 4123659995', () => {
  const random = new Mt19937(5489);
  random.skip(9999);
  expect(random.uniform() * 2 ** 24).toBe(4123659995 & 0xffffff);
});

const DRAWN = readdirSync(fixture(''), { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.drawn.br'))
  .map((path) => path.slice(0, -'.drawn.br'.length));

describe('checkpoints drawn again', () => {
  it.each(DRAWN)('%s is the published file', async (path) => {
    // Reading compares the digest.
    const bytes = await readFixture(path);
    expect(bytes.length).toBeGreaterThan(1e6);
  });

  it('a file that comes out otherwise is an error', async () => {
    const drawn = { file: 'model.safetensors', seed: 4, skip: 0, sha256: '0'.repeat(64) };
    const folder = fixtureSource('step3-small-bf16');
    await expect(restore(folder, drawn)).rejects.toThrow(/model\.safetensors is not restored/);
  });
});

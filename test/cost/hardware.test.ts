/** Hardware that users define, and what must be wrong with it to be refused. */
import { describe, expect, it } from 'vitest';
import { HARDWARE } from '../../src/cost/cards.ts';
import { peakFlops } from '../../src/cost/hardware.ts';
import { COST_MODELS } from '../../src/cost/presets.ts';
import { attentionPrice } from '../../src/cost/price.ts';
import { readHardware } from '../../src/cost/read_hardware.ts';
import { tokenCost } from '../../src/cost/token.ts';
import { ConfigError } from '../../src/errors.ts';
import { expectError } from '../weights/support.ts';

const MINE = { name: 'Mine', bytes_per_second: 1e12 };

describe('known hardware', () => {
  it.each(Object.entries(HARDWARE))('%s has a source, and peaks in the order of their widths', (_, card) => {
    expect(card.source.length).toBeGreaterThan(5);
    const { fp8_flops = Number.POSITIVE_INFINITY, bf16_flops = 0, fp32_flops = 0 } = card;
    expect(fp8_flops).toBeGreaterThan(bf16_flops);
    if (bf16_flops > 0) expect(bf16_flops).toBeGreaterThan(fp32_flops);
    expect(card.memory_bytes).toBeGreaterThan(1e10);
  });

  it('survives a trip through JSON', () => {
    const all = Object.values(HARDWARE);
    expect(readHardware(JSON.parse(JSON.stringify(all)), 'f')).toEqual(all);
  });
});

type Case = readonly [string, unknown, ...string[]];

const HOSTILE: readonly Case[] = [
  ['null', null, 'hardware', 'a JSON object'],
  ['a number', 3, 'a JSON object'],
  ['no definitions', [], 'hardware', 'at least one'],
  ['a list in a list', [[MINE]], 'hardware[0]', 'a JSON object'],
  ['an empty object', {}, 'bytes_per_second', 'got nothing'],
  ['no name', { bytes_per_second: 1 }, 'name', 'got nothing'],
  ['an empty name', { ...MINE, name: '  ' }, 'name'],
  ['a name of a thousand characters', { ...MINE, name: 'x'.repeat(1000) }, 'name', '200 characters'],
  ['a name that steers the terminal', { ...MINE, name: 'a\u001b[2J' }, 'name', 'a line'],
  ['a name that is a number', { ...MINE, name: 4090 }, 'name', 'got 4090'],
  ['no bandwidth', { name: 'Mine', bf16_flops: 1 }, 'bytes_per_second', 'the memory bandwidth'],
  ['a bandwidth of 0', { ...MINE, bytes_per_second: 0 }, 'bytes_per_second', 'above 0', 'got 0'],
  ['a negative peak', { ...MINE, bf16_flops: -1 }, 'bf16_flops', 'got -1'],
  ['a peak that is text', { ...MINE, fp8_flops: '1e15' }, 'fp8_flops', 'got "1e15"'],
  ['a peak past all reason', { ...MINE, fp8_flops: 1e300 }, 'fp8_flops', 'at most 1e', 'got 1e+300'],
  ['not a number', { ...MINE, memory_bytes: Number.NaN }, 'memory_bytes', 'NaN'],
  ['a misspelt field', { ...MINE, fp8_flop: 1e15 }, 'fp8_flop', 'dollars_per_hour', 'matrix_rows'],
  [
    'the second of two',
    [MINE, { ...MINE, dollars_per_hour: 'free' }],
    'hardware[1].dollars_per_hour',
    'free',
  ],
  ['a prototype', JSON.parse('{"name":"x","bytes_per_second":1,"__proto__":{"a":1}}'), '__proto__'],
];

describe('defined hardware', () => {
  it('needs a name and a bandwidth, and names its file as the source', () => {
    expect(readHardware(MINE, 'mine.json')).toEqual([{ ...MINE, source: 'mine.json' }]);
    expect(readHardware([{ ...MINE, source: 'datasheet', fp8_flops: null }], 'f')).toEqual([
      { ...MINE, source: 'datasheet' },
    ]);
  });

  it('names what it lacks where that is needed', () => {
    const [card] = readHardware({ ...MINE, dollars_per_hour: 1 }, 'f');
    expect(() => peakFlops(card)).toThrow(/hardware Mine: expected a known peak FLOP\/s, got \["doll/);
    const [free] = readHardware({ ...MINE, bf16_flops: 1e14 }, 'f');
    expect(() => attentionPrice(tokenCost(COST_MODELS.step3, 1), free)).toThrow(/known price per hour/);
  });

  it.each(HOSTILE.map(([name, json, ...mentions]) => ({ name, json, mentions })))(
    'refuses $name',
    ({ json, mentions }) =>
      expectError(() => readHardware(json, 'mine.json'), ConfigError, ['mine.json', ...mentions]),
  );
});

import { describe, expect, it } from 'vitest';
import { EXIT, errorJson, exitCode, oneLine } from '../../src/cli/errors.ts';
import { formatBytes, formatPurposes, percentile, speed } from '../../src/cli/figures.ts';
import { ConfigError, DeviceLostError, InputError, KernelError, WeightError } from '../../src/errors.ts';

describe('figures', () => {
  it.each([
    [0, '0 bytes'],
    [1023, '1023 bytes'],
    [1024, '1.00 KiB'],
    [1536 * 1024, '1.50 MiB'],
    [1023 * 1024, '1023 KiB'],
    [2 ** 50, '1024 TiB'],
  ])('%d bytes are %s', (bytes, text) => expect(formatBytes(bytes)).toBe(text));

  it('percentiles are values that occurred', () => {
    const values = Array.from({ length: 100 }, (_, i) => 100 - i);
    expect(percentile(values, 50)).toBe(50);
    expect(percentile(values, 99)).toBe(99);
    expect(percentile([7], 99)).toBe(7);
    expect(percentile([], 50)).toBeUndefined();
  });

  it('the first token of a sequence belongs to prefill, the others to decode', () => {
    const summary = {
      promptTokens: 130,
      cachedTokens: 30,
      newTokens: 6,
      prefillMs: 50,
      stepMs: [10, 30],
      finish: ['length', 'stop'],
    } as const;
    const figures = speed(summary);
    expect(figures.prefill_tokens_per_second).toBe(2000);
    expect(figures.decode_tokens_per_second).toBe(100);
    expect(figures.tpot_median_ms).toBe(10);
    expect(figures.tpot_p99_ms).toBe(30);
    expect(speed({ ...summary, newTokens: 2, stepMs: [] }).decode_tokens_per_second).toBeUndefined();
  });

  it('purposes without bytes are left out', () => {
    expect(formatPurposes({ weights: 2048, cache: 0, total: 2048 })).toBe('2.00 KiB (weights 2.00 KiB)');
  });
});

describe('errors', () => {
  it.each([
    [new InputError('prompt', 'a', 'b'), EXIT.usage],
    [new ConfigError('field', 'a', 'b'), EXIT.weights],
    [new WeightError('file', 'tensor', 'a', 'b'), EXIT.weights],
    [new KernelError('matvec', 'wrong'), EXIT.device],
    [new DeviceLostError('unknown', 'gone'), EXIT.device],
    [Object.assign(new Error('no such file'), { code: 'ENOENT' }), EXIT.usage],
    [Object.assign(new Error('no space'), { code: 'ENOSPC' }), EXIT.unexpected],
    [new DOMException('aborted', 'AbortError'), EXIT.interrupted],
    [new TypeError('a bug'), EXIT.unexpected],
    ['a string', EXIT.unexpected],
  ])('%s ends with %d', (error, code) => expect(exitCode(error)).toBe(code));

  it('messages stay on one line', () => {
    expect(oneLine(new Error('error: one\n  two\n'))).toBe('one two');
    expect(errorJson(new InputError('prompt', 'text', 1))).toMatchObject({
      error: { code: 'input', message: 'prompt: expected text, got 1', facts: { field: 'prompt' } },
    });
  });
});

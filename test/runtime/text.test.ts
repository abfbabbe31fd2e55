import { describe, expect, it } from 'vitest';
import { ConfigError, WeightError } from '../../src/errors.ts';
import { loadTokenizer, type TextCodec, TextStream } from '../../src/runtime/text.ts';
import { byteTokenizer } from '../../src/weights/byte_tokenizer.ts';
import { memorySource } from '../../src/weights/source.ts';

const encode = (value: unknown) =>
  new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value));

function source(tokenizer: unknown, config: unknown = {}) {
  return memorySource(
    'memory',
    new Map([
      ['tokenizer.json', encode(tokenizer)],
      ['tokenizer_config.json', encode(config)],
    ]),
  );
}

async function bytes(): Promise<TextCodec> {
  const { tokenizer, config } = byteTokenizer(300);
  const codec = await loadTokenizer(source(tokenizer, config), 300);
  if (codec === undefined) throw new Error('no tokenizer');
  return codec;
}

/** Everything a stream gives out for a text's tokens, piece by piece. */
function stream(
  codec: TextCodec,
  text: string,
  stops: string[] = [],
): { pieces: string[]; stopped: boolean } {
  const out = new TextStream(codec, stops);
  const pieces: string[] = [];
  for (const token of codec.encode(text)) {
    const pushed = out.push(token);
    pieces.push(pushed.text);
    if (pushed.stopped) return { pieces, stopped: true };
  }
  pieces.push(out.end());
  return { pieces, stopped: false };
}

describe('text stream', () => {
  it('gives whole characters only, and all of the text', async () => {
    const codec = await bytes();
    const text = `naïve 漢字 👩‍👩‍👧 ${'long text to outlive the window '.repeat(8)}é`;
    const { pieces } = stream(codec, text);
    expect(pieces.join('')).toBe(text);
    expect(pieces.every((piece) => !piece.includes('\uFFFD'))).toBe(true);
  });

  it('an unfinished character comes out at the end as a replacement', async () => {
    const codec = await bytes();
    const out = new TextStream(codec, []);
    const [first] = codec.encode('é');
    expect(out.push(first)).toEqual({ text: '', stopped: false });
    expect(out.end()).toBe('\uFFFD');
  });

  it('stops before a stop string that spans tokens, and holds back only what may begin one', async () => {
    const codec = await bytes();
    expect(stream(codec, 'one two END three', ['END', 'never'])).toMatchObject({ stopped: true });
    expect(stream(codec, 'one two END three', ['END', 'never']).pieces.join('')).toBe('one two ');
    const free = stream(codec, 'EN route', ['END']);
    expect(free).toMatchObject({ stopped: false });
    expect(free.pieces.join('')).toBe('EN route');
    expect(free.pieces.slice(0, 2)).toEqual(['', '']);
  });

  it('the earliest of several stop strings counts', async () => {
    const codec = await bytes();
    expect(stream(codec, 'a\n\nb###c', ['###', '\n\n']).pieces.join('')).toBe('a');
  });
});

describe('tokenizer files', () => {
  it('no tokenizer.json means no tokenizer', async () => {
    expect(await loadTokenizer(memorySource('memory', new Map()), 10)).toBeUndefined();
  });

  it('more tokens than the vocabulary holds is an error that names the file and the id', async () => {
    const { tokenizer, config } = byteTokenizer(300);
    const load = loadTokenizer(source(tokenizer, config), 257);
    await expect(load).rejects.toBeInstanceOf(WeightError);
    await expect(load).rejects.toThrow(
      /tokenizer\.json: expected token ids below vocab_size 257, found id 299/,
    );
  });

  for (const [name, text] of [
    ['not JSON', '{'],
    ['not an object', '3'],
    ['null', 'null'],
    ['a list', '[]'],
    ['without a model', '{}'],
    ['an unknown model', '{"model":{"type":"Nonsense","vocab":{}}}'],
    ['a vocabulary of the wrong type', '{"model":{"type":"BPE","vocab":7,"merges":[]}}'],
    ['added tokens of the wrong type', '{"model":{"type":"BPE","vocab":{},"merges":[]},"added_tokens":4}'],
  ] as const) {
    it(`malformed: ${name}`, async () => {
      const error: unknown = await loadTokenizer(source(text), 300).catch((e: unknown) => e);
      expect(error instanceof WeightError || error instanceof ConfigError, String(error)).toBe(true);
      expect((error as Error).message).toContain('tokenizer.json');
    });
  }
});

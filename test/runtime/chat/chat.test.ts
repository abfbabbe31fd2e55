/** A chat turn over a model whose next tokens are known. */
import { describe, expect, it } from 'vitest';
import { type ChatOptions, chat } from '../../../src/runtime/chat/chat.ts';
import type { ChatEvent } from '../../../src/runtime/chat/stream.ts';
import { loadChatTemplate } from '../../../src/runtime/chat/template.ts';
import type { GenerateOptions } from '../../../src/runtime/generate.ts';
import type { Model } from '../../../src/runtime/model.ts';
import { loadTokenizer } from '../../../src/runtime/text.ts';
import { byteTokenizer } from '../../../src/weights/byte_tokenizer.ts';
import { memorySource } from '../../../src/weights/source.ts';
import { text } from '../../weights/support.ts';

const SPECIAL = ['<|im_end|>', '</think>', '<tool_call>', '</tool_call>'];

/** A byte-level tokenizer with special tokens, and a model that says `says` whatever it is asked. */
async function scripted(says: string) {
  const { tokenizer: json, config } = byteTokenizer(300);
  const added = json.added_tokens as object[];
  SPECIAL.forEach((content, i) => {
    added.push({ ...added[0], id: 290 + i, content });
  });
  const files = memorySource(
    'memory',
    new Map([
      ['tokenizer.json', text(json)],
      ['tokenizer_config.json', text(config)],
    ]),
  );
  const tokenizer = (await loadTokenizer(files, 300))!;
  const chatTemplate = await loadChatTemplate(files, 'step35');
  const state = { prompt: '', closed: false };
  const model = {
    tokenizer,
    chatTemplate,
    config: { eos_token_ids: [256] },
    async *generate(prompt: number[], options: GenerateOptions) {
      state.prompt = tokenizer.decodeAll(prompt);
      const tokens = tokenizer.encodePrompt(says);
      let finish = 'length';
      try {
        for (const token of tokens) {
          if (options.signal?.aborted === true) finish = 'aborted';
          if (options.stopTokens?.includes(token) === true) finish = 'stop';
          yield { sequence: 0, token, text: '', ms: 0 };
          if (finish !== 'length') break;
        }
      } finally {
        state.closed = true;
      }
      return {
        promptTokens: prompt.length,
        cachedTokens: 0,
        newTokens: tokens.length,
        prefillMs: 1,
        stepMs: [],
        finish: [finish],
      };
    },
  };
  return { model: model as unknown as Model, state };
}

async function run(says: string, options: ChatOptions = {}) {
  const { model, state } = await scripted(says);
  const parts = chat(model, [{ role: 'user', content: 'Hi' }], options);
  const events: ChatEvent[] = [];
  let next = await parts.next();
  for (; next.done !== true; next = await parts.next()) events.push(next.value);
  return { ...next.value, events, prompt: state.prompt };
}

describe('chat', () => {
  it('decodes special tokens, tells reasoning, answer and calls apart, and ends at the end of the turn', async () => {
    const call = '<tool_call>\n<function=f>\n<parameter=a>\n<b>\n</parameter>\n</function>\n</tool_call>';
    const { message, finish, prompt, tokens } = await run(`hm 我\n</think>\nSee 🙂.\n${call}<|im_end|>never`);
    expect(prompt).toBe('<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n');
    expect(message).toEqual({
      role: 'assistant',
      reasoning_content: 'hm 我',
      content: 'See 🙂.',
      tool_calls: [{ name: 'f', arguments: { a: '<b>' } }],
    });
    expect(finish).toBe('stop');
    expect(tokens.at(-1)).toBe(290);
  });

  it('without thinking the answer begins at once', async () => {
    const { message, finish } = await run('Hello', { thinking: false });
    expect(message).toEqual({ role: 'assistant', content: 'Hello' });
    expect(finish).toBe('length');
  });

  it('ends before a stop string', async () => {
    const { message, finish } = await run('a</think>one two three', { stop: ['two'] });
    expect(message).toEqual({ role: 'assistant', reasoning_content: 'a', content: 'one' });
    expect(finish).toBe('stop');
  });

  it('gives the model back when nobody listens any more', async () => {
    const { model, state } = await scripted('a long answer');
    for await (const event of chat(model, [{ role: 'user', content: 'Hi' }])) {
      expect(event.type).toBe('reasoning');
      break;
    }
    expect(state.closed).toBe(true);
  });

  it('needs a tokenizer', async () => {
    const { model } = await scripted('');
    const without = { ...model, tokenizer: undefined } as unknown as Model;
    await expect(chat(without, [{ role: 'user', content: 'Hi' }]).next()).rejects.toThrow(/tokenizer\.json/);
  });
});

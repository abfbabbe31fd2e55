/** A chat turn: messages in, reasoning, answer and calls of tools out, as they are generated. */
import { InputError } from '../../errors.ts';
import type { FinishReason, GenerateOptions, GenerateSummary } from '../generate.ts';
import type { Model } from '../model.ts';
import { TextStream } from '../text.ts';
import type { ChatMessage, ToolCall } from './messages.ts';
import { type ChatEvent, ChatStream } from './stream.ts';
import type { PromptOptions } from './template.ts';

/** Options of {@link chat}. Here `cachePrompt` is on by default, so that a turn reads only what is new since the last one. */
export interface ChatOptions extends GenerateOptions, PromptOptions {}

/** The whole turn. */
export interface ChatResult {
  readonly message: ChatMessage & { readonly role: 'assistant' };
  readonly finish: FinishReason;
  /** New tokens, the last one included. */
  readonly tokens: readonly number[];
  readonly summary: GenerateSummary;
}

/** Yields parts of the turn as they come; returns the whole. */
export type Chat = AsyncGenerator<ChatEvent, ChatResult, void>;

/** Tokens that end a turn, by their texts; they count where the tokenizer has them as one token. */
const TURN_ENDS = ['<|im_end|>', '<|EOT|>'];

/** The prompt's text for some messages, by the checkpoint's chat template. InputError when it has no tokenizer. */
export function chatPrompt(
  model: Model,
  messages: readonly ChatMessage[],
  options: PromptOptions = {},
): string {
  if (model.chatTemplate === undefined || model.tokenizer === undefined) {
    throw new InputError('messages', 'a checkpoint with a tokenizer.json', 'none');
  }
  return model.chatTemplate.render(messages, options);
}

/**
 * Generates the assistant's next turn.
 *
 * @throws InputError for messages that the template refuses, or that do not fit into the context.
 */
export async function* chat(model: Model, messages: readonly ChatMessage[], options: ChatOptions = {}): Chat {
  const { tools, thinking, ...generating } = options;
  const prompt = chatPrompt(model, messages, { tools, thinking });
  const { tokenizer, chatTemplate } = model;
  if (tokenizer === undefined || chatTemplate === undefined)
    throw new InputError('messages', 'a tokenizer', 'none');
  const ends = TURN_ENDS.flatMap((text) => tokenizer.tokenId(text) ?? []);
  const stopTokens = [...new Set([...(options.stopTokens ?? model.config.eos_token_ids), ...ends])];
  // Marks of reasoning and tools may be special tokens, so all are decoded; stop strings are looked for here too.
  const all = { ...tokenizer, decode: tokenizer.decodeAll };
  const stream = new TextStream(all, options.stop ?? []);
  const parts = new ChatStream(chatTemplate.syntax, /<think>\s*$/.test(prompt), tools);
  const turn = new Turn();
  const tokens: number[] = [];
  const stop = new AbortController();
  const signal = options.signal === undefined ? stop.signal : AbortSignal.any([options.signal, stop.signal]);
  let stopped = false;
  const generated = model.generate(tokenizer.encodePrompt(prompt), {
    ...generating,
    cachePrompt: options.cachePrompt ?? true,
    stop: [],
    stopTokens,
    signal,
  });
  let next = await generated.next();
  try {
    for (; next.done !== true; next = await generated.next()) {
      const { token } = next.value;
      if (stopped) continue;
      tokens.push(token);
      if (stopTokens.includes(token)) continue;
      const pushed = stream.push(token);
      yield* turn.take(parts.push(pushed.text));
      stopped = pushed.stopped;
      if (stopped) stop.abort();
    }
  } finally {
    // Whoever stops listening early gives the model back too.
    if (next.done !== true) await generated.return(undefined as never);
  }
  yield* turn.take(parts.push(stopped ? '' : stream.end()));
  yield* turn.take(parts.end());
  const finish = stopped ? 'stop' : (next.value.finish[0] ?? 'aborted');
  return { message: turn.message(), finish, tokens, summary: next.value };
}

/** Gathers the parts of a turn. */
class Turn {
  #reasoning = '';
  #content = '';
  readonly #calls: ToolCall[] = [];

  take(events: readonly ChatEvent[]): readonly ChatEvent[] {
    for (const event of events) {
      if (event.type === 'tool_call') this.#calls.push(event.call);
      else if (event.type === 'reasoning') this.#reasoning += event.text;
      else this.#content += event.text;
    }
    return events;
  }

  message(): ChatResult['message'] {
    return {
      role: 'assistant',
      content: this.#content,
      ...(this.#reasoning === '' ? {} : { reasoning_content: this.#reasoning }),
      ...(this.#calls.length === 0 ? {} : { tool_calls: this.#calls }),
    };
  }
}

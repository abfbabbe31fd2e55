/** Splits the text of an assistant's turn, as it comes, into reasoning, answer and calls of tools. */
import type { Tool, ToolCall } from './messages.ts';
import { MARKS, parseCall, type SyntaxMarks, type ToolSyntax } from './tool_syntax.ts';

/** A part of a turn. */
export type ChatEvent =
  | { readonly type: 'reasoning'; readonly text: string }
  | { readonly type: 'content'; readonly text: string }
  | { readonly type: 'tool_call'; readonly call: ToolCall };

const THINK = '<think>';
const END_THINK = '</think>';

/** White space in a call's end mark that is looked back over when more text comes. */
const SLACK = 256;

type State = 'start' | 'reasoning' | 'content' | 'calls';

/**
 * Feed it text with {@link push}; what comes out is certain: no piece of a mark is ever given out as text, and white
 * space before a mark is dropped. What is not a complete call in the end is given out as content by {@link end}.
 */
export class ChatStream {
  readonly #syntax: ToolSyntax;
  readonly #marks: SyntaxMarks;
  readonly #tools: readonly Tool[];
  #state: State;
  #held = '';
  /** Pieces of a call that stand before the held text. */
  #body: string[] = [];
  /** Whether the current part has given out something yet: its leading line breaks are dropped. */
  #begun = false;

  /** @param thinking whether the prompt ends within the reasoning, after `<think>` */
  constructor(syntax: ToolSyntax, thinking: boolean, tools: readonly Tool[] = []) {
    this.#syntax = syntax;
    this.#marks = MARKS[syntax];
    this.#tools = tools;
    this.#state = thinking ? 'reasoning' : 'start';
  }

  /** What `text` makes certain. */
  push(text: string): ChatEvent[] {
    this.#held += text;
    const events: ChatEvent[] = [];
    while (this.#step(events));
    return events;
  }

  /** What is left once no more text comes. */
  end(): ChatEvent[] {
    const rest = (this.#body.join('') + this.#held).trimEnd();
    this.#held = '';
    this.#body = [];
    if (rest.trim() === '') return [];
    const type = this.#state === 'reasoning' ? 'reasoning' : 'content';
    return [{ type, text: this.#begun ? rest : rest.trimStart() }];
  }

  /** One step; whether another may follow. */
  #step(events: ChatEvent[]): boolean {
    switch (this.#state) {
      case 'start':
        return this.#start();
      case 'reasoning':
        return this.#text(events, 'reasoning', END_THINK, 'content');
      case 'content':
        return this.#text(events, 'content', this.#marks.open, 'calls');
      case 'calls':
        return this.#calls(events);
    }
  }

  /** A model may write `<think>` itself. */
  #start(): boolean {
    const text = this.#held.trimStart();
    if (THINK.startsWith(text)) return text === THINK && this.#enter('reasoning', '');
    if (text.startsWith(THINK)) return this.#enter('reasoning', text.slice(THINK.length));
    return this.#enter('content', this.#held);
  }

  /** Gives out text up to `mark`, at which `next` begins. */
  #text(events: ChatEvent[], type: 'reasoning' | 'content', mark: string, next: State): boolean {
    const at = this.#held.indexOf(mark);
    const end = at >= 0 ? at : this.#held.length - partial(this.#held, mark);
    let text = this.#held.slice(0, end).trimEnd();
    // White space is given out once something other than a mark follows it.
    const rest = at >= 0 ? '' : this.#held.slice(text.length);
    if (!this.#begun) text = text.trimStart();
    if (text !== '') {
      this.#begun = true;
      events.push({ type, text });
    }
    if (at >= 0) return this.#enter(next, this.#held.slice(at + mark.length));
    this.#held = rest;
    return false;
  }

  #calls(events: ChatEvent[]): boolean {
    const { callEnd, callEndLength, close, open } = this.#marks;
    if (this.#body.length === 0 && close !== undefined) {
      const text = this.#held.trimStart();
      if (text.startsWith(close)) return this.#enter('content', text.slice(close.length));
    }
    const found = callEnd.exec(this.#held);
    if (found === null) {
      // Values may be long: only what may be the begin of the end mark is looked at again.
      const keep = callEndLength + SLACK;
      if (this.#held.length > 2 * keep) {
        this.#body.push(this.#held.slice(0, -keep));
        this.#held = this.#held.slice(-keep);
      }
      return false;
    }
    const end = found.index + found[0].length;
    const text = this.#body.join('') + this.#held.slice(0, end);
    const call = parseCall(this.#syntax, text, this.#tools);
    if (call === undefined) events.push({ type: 'content', text: (close === undefined ? open : '') + text });
    else events.push({ type: 'tool_call', call });
    // Where calls stand one by one, the next one has a mark of its own.
    return this.#enter(close === undefined ? 'content' : 'calls', this.#held.slice(end));
  }

  #enter(state: State, held: string): true {
    this.#state = state;
    this.#held = held;
    this.#body = [];
    this.#begun = false;
    return true;
  }
}

/** Length of the longest end of `text` that begins `mark`. */
function partial(text: string, mark: string): number {
  for (let n = Math.min(mark.length - 1, text.length); n > 0; n--) {
    if (text.endsWith(mark.slice(0, n))) return n;
  }
  return 0;
}

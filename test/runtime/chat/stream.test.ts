/** Turns split into reasoning, answer and calls, whatever pieces they come in. */
import { describe, expect, it } from 'vitest';
import type { Tool } from '../../../src/runtime/chat/messages.ts';
import { ChatStream } from '../../../src/runtime/chat/stream.ts';
import type { ToolSyntax } from '../../../src/runtime/chat/tool_syntax.ts';

const TOOLS: readonly Tool[] = [
  {
    name: 'f',
    parameters: {
      type: 'object',
      properties: {
        text: { type: 'string' },
        count: { type: 'integer' },
        share: { type: 'number' },
        yes: { type: 'boolean' },
        none: { type: ['string', 'null'] },
        list: { type: 'array' },
        map: { anyOf: [{ type: 'object' }, { type: 'string' }] },
      },
    },
  },
];

interface Turn {
  reasoning: string;
  content: string;
  calls: { name: string; arguments: object }[];
}

/** The turn that comes out when `text` is fed in pieces of `size` characters. */
function split(syntax: ToolSyntax, text: string, thinking: boolean, size = text.length): Turn {
  const stream = new ChatStream(syntax, thinking, TOOLS);
  const turn: Turn = { reasoning: '', content: '', calls: [] };
  const take = (events: ReturnType<ChatStream['push']>) => {
    for (const event of events) {
      if (event.type === 'tool_call') turn.calls.push(event.call);
      else {
        expect(event.text).not.toBe('');
        turn[event.type] += event.text;
      }
    }
  };
  for (let at = 0; at < text.length; at += size) take(stream.push(text.slice(at, at + size)));
  take(stream.end());
  return turn;
}

/** The same for every size of pieces. */
function check(syntax: ToolSyntax, text: string, thinking: boolean, expected: Partial<Turn>): void {
  const whole = { reasoning: '', content: '', calls: [], ...expected };
  for (const size of [text.length, 1, 2, 3, 5, 7, 11, 16, 40]) {
    expect(split(syntax, text, thinking, Math.max(1, size))).toEqual(whole);
  }
}

const step3Call = (name: string, params: Record<string, string>) =>
  `<｜tool_call_begin｜>function<｜tool_sep｜><steptml:invoke name="${name}">${Object.entries(params)
    .map(([k, v]) => `<steptml:parameter name="${k}">${v}</steptml:parameter>`)
    .join('\n')}</steptml:invoke><｜tool_call_end｜>`;
const step35Call = (name: string, params: Record<string, string>) =>
  `<tool_call>\n<function=${name}>\n${Object.entries(params)
    .map(([k, v]) => `<parameter=${k}>\n${v}\n</parameter>\n`)
    .join('')}</function>\n</tool_call>`;
const step3Calls = (...calls: string[]) => `<｜tool_calls_begin｜> ${calls.join('\n')}\n<｜tool_calls_end｜>`;

const wrap = (syntax: ToolSyntax, name: string, params: Record<string, string>) =>
  syntax === 'step3' ? step3Calls(step3Call(name, params)) : step35Call(name, params);

describe.each(['step3', 'step35'] as const)('ChatStream, %s', (syntax) => {
  it('splits reasoning from the answer at the first </think>', () => {
    check(syntax, 'Let me see.\n2 < 3\n</think>\n\nIt is 4.', true, {
      reasoning: 'Let me see.\n2 < 3',
      content: 'It is 4.',
    });
    check(syntax, 'a</think>b</think>c', true, { reasoning: 'a', content: 'b</think>c' });
    check(syntax, '</think>b', true, { content: 'b' });
    check(syntax, '\n\n</think>\n', true, {});
  });

  it('an answer without reasoning, or with reasoning that it begins itself', () => {
    check(syntax, 'Four.', false, { content: 'Four.' });
    check(syntax, '<think>\nhm\n</think>\nFour.', false, { reasoning: 'hm', content: 'Four.' });
    check(syntax, '<thin', false, { content: '<thin' });
    check(syntax, 'x <think> y', false, { content: 'x <think> y' });
    check(syntax, '', false, {});
  });

  it('reasoning that is cut short', () => {
    check(syntax, 'Let me see', true, { reasoning: 'Let me see' });
    check(syntax, 'Let me see </thi', true, { reasoning: 'Let me see </thi' });
  });

  it('calls, with values that hold marks, tags, line breaks and quotes', () => {
    const values = {
      text: 'if (a < b && c > d) { return "<x></x>"; }\n  // </function </parameter <b> 我 🙂',
      other: '</steptml:parameter > </parameter > <tool_cal',
      empty: '',
    };
    const expected = { calls: [{ name: 'f', arguments: values }] };
    check(syntax, wrap(syntax, 'f', values), false, expected);
    check(syntax, `why\n</think>\n\nSee:\n\n${wrap(syntax, 'f', values)}`, true, {
      ...expected,
      reasoning: 'why',
      content: 'See:',
    });
  });

  it('a value that quotes its own end mark', () => {
    const text = syntax === 'step3' ? 'a </steptml:parameter> b' : 'a </parameter> b\n</parameter> c';
    check(syntax, wrap(syntax, 'f', { text, count: '1' }), false, {
      calls: [{ name: 'f', arguments: { text, count: 1 } }],
    });
  });

  it('values by the types of the schema', () => {
    const given = {
      count: '42',
      share: '-1.5e3',
      yes: 'True',
      none: 'null',
      list: '[1, {"a": "<"}]',
      map: '{"k": [2]}',
      text: '7',
      more: '8',
    };
    const values = {
      count: 42,
      share: -1500,
      yes: true,
      none: null,
      list: [1, { a: '<' }],
      map: { k: [2] },
      text: '7',
      more: '8',
    };
    check(syntax, wrap(syntax, 'f', given), false, { calls: [{ name: 'f', arguments: values }] });
    const misfit = { count: '4.5', share: 'x', yes: 'maybe', list: '{}', map: 'plain' };
    check(syntax, wrap(syntax, 'f', misfit), false, { calls: [{ name: 'f', arguments: misfit }] });
    check(syntax, wrap(syntax, 'unknown', { count: '4' }), false, {
      calls: [{ name: 'unknown', arguments: { count: '4' } }],
    });
    check(syntax, wrap(syntax, 'f', { __proto__x: '1' }), false, {
      calls: [{ name: 'f', arguments: { __proto__x: '1' } }],
    });
  });

  it('what is not a complete call stays text', () => {
    const whole = wrap(syntax, 'f', { text: 'x' });
    const cut = whole.slice(0, whole.lastIndexOf('</') - 4);
    const { calls, content } = split(syntax, cut, false);
    expect(calls).toEqual([]);
    expect(content).not.toBe('');
    check(syntax, 'a < b, <tool, <｜tool', false, { content: 'a < b, <tool, <｜tool' });
  });

  it('a long value in small pieces takes no quadratic time', () => {
    const text = '<tag>'.repeat(40_000);
    expect(split(syntax, wrap(syntax, 'f', { text }), false, 3).calls[0].arguments).toEqual({ text });
  });
});

describe('several calls', () => {
  const calls = [
    { name: 'f', arguments: { count: 1 } },
    { name: 'g', arguments: {} },
  ];

  it('step3, in one group', () => {
    const text = `Both. ${step3Calls(step3Call('f', { count: '1' }), step3Call('g', {}))}`;
    check('step3', text, false, { content: 'Both.', calls });
    check('step3', `${text} done`, false, { content: 'Both.done', calls });
  });

  it('step35, one by one', () => {
    check('step35', `Both.\n${step35Call('f', { count: '1' })}\n${step35Call('g', {})}\n`, false, {
      content: 'Both.',
      calls,
    });
  });
});

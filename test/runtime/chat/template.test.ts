/** Chat templates: the built-in ones, those of checkpoints, and those that are wrong on purpose. */
import { describe, expect, it } from 'vitest';
import { InputError, WeightError } from '../../../src/errors.ts';
import { type ChatMessage, parseMessages, parseTools } from '../../../src/runtime/chat/messages.ts';
import { loadChatTemplate } from '../../../src/runtime/chat/template.ts';
import { memorySource } from '../../../src/weights/source.ts';
import { text } from '../../weights/support.ts';

const BOS = '<｜begin▁of▁sentence｜>';
const CONFIG = { bos_token: BOS, eos_token: { content: '</s>' } };

function template(files: Record<string, unknown>, architecture: 'step3' | 'step35' = 'step35') {
  const source = new Map(Object.entries(files).map(([name, content]) => [name, text(content)]));
  return loadChatTemplate(memorySource('memory', source), architecture);
}
const builtIn = (architecture: 'step3' | 'step35') =>
  template({ 'tokenizer_config.json': CONFIG }, architecture);

const USER: ChatMessage = { role: 'user', content: 'What is 2+2?' };
const SYSTEM: ChatMessage = { role: 'system', content: 'You are a helpful assistant.' };
const CALLS = [{ name: 'add', arguments: { a: 2, b: '<2>', c: [true] } }];
const HISTORY: readonly ChatMessage[] = [
  SYSTEM,
  { role: 'user', content: 'Hi' },
  { role: 'assistant', content: 'Hello', reasoning_content: 'old' },
  USER,
  { role: 'assistant', content: '', reasoning_content: 'new', tool_calls: CALLS },
  { role: 'tool', content: '4' },
  { role: 'tool', content: 'four' },
];
const TOOLS = parseTools([{ type: 'function', function: { name: 'add', parameters: { type: 'object' } } }]);

describe('built-in templates', () => {
  it('Step-3: as the published example', async () => {
    const { render, source } = await builtIn('step3');
    expect(source).toBe('built in');
    expect(render([SYSTEM, USER])).toBe(
      `${BOS} You are a helpful assistant. <|BOT|>user\n What is 2+2? <|EOT|><|BOT|>assistant\n<think>\n`,
    );
    expect(render([USER], { thinking: false })).toBe(
      `${BOS}<|BOT|>user\n What is 2+2? <|EOT|><|BOT|>assistant\n`,
    );
    expect(render(HISTORY)).toBe(
      `${BOS} You are a helpful assistant. <|BOT|>user\n Hi <|EOT|><|BOT|>assistant\nHello <|EOT|>` +
        '<|BOT|>user\n What is 2+2? <|EOT|><|BOT|>assistant\n<think>\nnew\n</think>\n<｜tool_calls_begin｜>' +
        '<｜tool_call_begin｜>function<｜tool_sep｜><steptml:invoke name="add"><steptml:parameter name="a">2</steptml:parameter>' +
        '<steptml:parameter name="b"><2></steptml:parameter><steptml:parameter name="c">[true]</steptml:parameter>' +
        '</steptml:invoke><｜tool_call_end｜><｜tool_calls_end｜> <|EOT|>' +
        '<|BOT|>tool_response\n 4 <|EOT|><|BOT|>tool_response\n four <|EOT|><|BOT|>assistant\n<think>\n',
    );
  });

  it('Step-3.5-Flash: ChatML; results of tools share a turn, old reasoning is dropped', async () => {
    const { render } = await builtIn('step35');
    expect(render([USER])).toBe(
      `${BOS}<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\n<think>\n`,
    );
    expect(render(HISTORY, { thinking: false })).toBe(
      `${BOS}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n` +
        '<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nWhat is 2+2?<|im_end|>\n' +
        '<|im_start|>assistant\n<think>\nnew\n</think>\n<tool_call>\n<function=add>\n<parameter=a>\n2\n</parameter>\n' +
        '<parameter=b>\n<2>\n</parameter>\n<parameter=c>\n[true]\n</parameter>\n</function>\n</tool_call><|im_end|>\n' +
        '<|im_start|>tool_response\n<tool_response>4</tool_response><tool_response>four</tool_response><|im_end|>\n' +
        '<|im_start|>assistant\n',
    );
    const observed = render([
      USER,
      { role: 'system', content: 'x', name: 'observation' },
      { role: 'system', content: 'y' },
    ]);
    expect(observed).toContain('<|im_start|>observation\nx<|im_end|>\n<|im_start|>system\ny<|im_end|>\n');
  });

  it.each(['step3', 'step35'] as const)('%s: tools as JSON in the system turn', async (architecture) => {
    const { render } = await builtIn(architecture);
    const prompt = render([SYSTEM, USER], { tools: TOOLS });
    expect(prompt).toContain('You are a helpful assistant.\n\n# Tools');
    const [, listed] = /<tools>\n(.*)\n<\/tools>/.exec(prompt)!;
    expect(JSON.parse(listed)).toEqual({
      type: 'function',
      function: { name: 'add', parameters: { type: 'object' } },
    });
    expect(render([USER], { tools: TOOLS })).toContain('# Tools');
  });
});

describe('templates of checkpoints', () => {
  const JINJA =
    '{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{{ eos_token }}';
  const expected = `${BOS}[user]What is 2+2?</s>`;

  it('from chat_template.jinja, before tokenizer_config.json', async () => {
    const found = await template({
      'chat_template.jinja': JINJA,
      'tokenizer_config.json': { ...CONFIG, chat_template: 'no' },
    });
    expect(found.source).toBe('chat_template.jinja');
    expect(found.render([USER])).toBe(expected);
  });

  it('from tokenizer_config.json, a text or a list of named ones', async () => {
    for (const chat_template of [
      JINJA,
      [
        { name: 'tool_use', template: '' },
        { name: 'default', template: JINJA },
      ],
    ]) {
      const found = await template({ 'tokenizer_config.json': { ...CONFIG, chat_template } });
      expect(found.source).toBe('tokenizer_config.json');
      expect(found.render([USER])).toBe(expected);
    }
  });

  it('finds the calls in both places where templates look', async () => {
    const jinja =
      '{% for c in messages[0].tool_calls %}{{ c.name }} {{ c.function.name }} {{ c.function.arguments | tojson }}{% endfor %}';
    const { render } = await template({ 'chat_template.jinja': jinja });
    expect(
      render([{ role: 'assistant', content: '', tool_calls: [{ name: 'f', arguments: { a: 1 } }] }]),
    ).toBe('f f {"a": 1}');
  });

  it('may refuse messages', async () => {
    const { render } = await template({
      'chat_template.jinja': "{{ raise_exception('roles must alternate') }}",
    });
    expect(() => render([USER])).toThrow(InputError);
    expect(() => render([USER])).toThrow(/roles must alternate/);
  });

  it.each([
    ['does not parse', '{% for %}'],
    ['calls what is not there', '{{ nope() }}'],
    [
      'loops for a long time',
      '{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}',
    ],
    ['asks for a huge range', '{{ range(1000000000) }}'],
    ['is nested 100,000 deep', `{{ ${'('.repeat(100_000)}1${')'.repeat(100_000)} }}`],
    [
      'doubles a text without end',
      "{% set ns = namespace(t='x') %}{% for i in range(100) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}",
    ],
    ['is longer than any template', 'x'.repeat(2 ** 20 + 1)],
  ])('a template that %s is a WeightError', async (_, jinja) => {
    const { render } = await template({ 'chat_template.jinja': jinja });
    expect(() => render([USER])).toThrow(WeightError);
  });

  it('a chat_template of another type, a config that is not JSON', async () => {
    const odd = await template({ 'tokenizer_config.json': { chat_template: 7 } });
    expect(() => odd.render([USER])).toThrow(WeightError);
    await expect(template({ 'tokenizer_config.json': '{' })).rejects.toThrow(WeightError);
    await expect(template({ 'tokenizer_config.json': '7' })).rejects.toThrow(WeightError);
  });
});

describe('messages', () => {
  it('of the usual forms', () => {
    expect(
      parseMessages({
        messages: [
          {
            role: 'user',
            content: [
              { type: 'text', text: 'a' },
              { type: 'text', text: 'b' },
            ],
          },
          {
            role: 'assistant',
            content: null,
            tool_calls: [{ id: '1', function: { name: 'f', arguments: '{"a":1}' } }],
          },
          { role: 'tool', tool_call_id: '1', content: 'r' },
        ],
      }),
    ).toEqual([
      { role: 'user', content: 'ab' },
      { role: 'assistant', content: '', tool_calls: [{ name: 'f', arguments: { a: 1 } }] },
      { role: 'tool', content: 'r' },
    ]);
  });

  it.each([
    ['no list', {}, 'messages'],
    ['an empty list', [], 'messages'],
    ['a text', ['hi'], 'messages[0]'],
    ['another role', [{ role: 'robot', content: '' }], 'messages[0].role'],
    ['no content', [{ role: 'user' }], 'messages[0].content'],
    ['an image', [{ role: 'user', content: [{ type: 'image_url' }] }], 'images are not supported'],
    [
      'arguments that are not JSON',
      [{ role: 'assistant', tool_calls: [{ name: 'f', arguments: '{' }] }],
      'arguments',
    ],
    ['calls without a name', [{ role: 'assistant', tool_calls: [{}] }], 'tool_calls[0].name'],
  ])('refuses %s', (_, json, mention) => {
    expect(() => parseMessages(json)).toThrow(InputError);
    expect(() => parseMessages(json)).toThrow(mention);
  });

  it('refuses tools that are none', () => {
    for (const json of [{}, [1], [{}], [{ name: 'f', parameters: 1 }], [{ name: 'f', description: 1 }]]) {
      expect(() => parseTools(json)).toThrow(InputError);
    }
  });
});

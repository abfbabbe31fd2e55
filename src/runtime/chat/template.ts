/** Chat templates: from messages to the text of a prompt. */
import { Environment, Interpreter, parse, tokenize } from '@huggingface/jinja';
import { InputError, WeightError } from '../../errors.ts';
import { type FileSource, readText } from '../../weights/source.ts';
import { STEP3_TEMPLATE, STEP35_TEMPLATE } from './builtin.ts';
import type { ChatMessage, Tool } from './messages.ts';
import type { ToolSyntax } from './tool_syntax.ts';

/** What else a prompt depends on. */
export interface PromptOptions {
  readonly tools?: readonly Tool[] | undefined;
  /** False asks a model that can to answer without reasoning. Default true. */
  readonly thinking?: boolean | undefined;
}

/** The chat template of a checkpoint. */
export interface ChatTemplate {
  /** Where it is from: a file, or `built in`. */
  readonly source: string;
  /** How the model writes calls of tools. */
  readonly syntax: ToolSyntax;
  /**
   * The prompt up to where the assistant's turn begins.
   *
   * @throws InputError when the template refuses the messages, WeightError when it cannot be run.
   */
  render(messages: readonly ChatMessage[], options?: PromptOptions): string;
}

/** Longer templates are no templates. */
const MAX_TEMPLATE = 2 ** 20;

/**
 * Steps that rendering may take: a template is part of a downloaded file, and one line of it could loop for ever. Long
 * conversations take some hundred steps a message.
 */
const MAX_STEPS = 500_000;

/** Longest list that a template may make of numbers. */
const MAX_RANGE = 10_000;

const TEMPLATE_FILE = 'chat_template.jinja';
const CONFIG_FILE = 'tokenizer_config.json';

/**
 * The template of a checkpoint: `chat_template.jinja`, else `chat_template` in `tokenizer_config.json`, else the built-in
 * one of the architecture. It is parsed when it is first used: a bad one does not keep a model from continuing texts.
 *
 * @throws WeightError when `tokenizer_config.json` is malformed.
 */
export async function loadChatTemplate(
  files: FileSource,
  architecture: 'step3' | 'step35',
): Promise<ChatTemplate> {
  const config = await readConfig(files);
  const tokens = { bos_token: tokenText(config.bos_token), eos_token: tokenText(config.eos_token) };
  const file = await readText(files, TEMPLATE_FILE);
  if (file !== undefined) return makeTemplate(() => file, TEMPLATE_FILE, architecture, tokens);
  const inside = config.chat_template;
  if (inside === undefined || inside === null) {
    const text = architecture === 'step3' ? STEP3_TEMPLATE : STEP35_TEMPLATE;
    return makeTemplate(() => text, 'built in', architecture, tokens);
  }
  return makeTemplate(() => chooseTemplate(inside), CONFIG_FILE, architecture, tokens);
}

/** A list of named templates has one called `default`. */
function chooseTemplate(inside: unknown): string {
  const found: unknown = Array.isArray(inside)
    ? inside.find((item: unknown) => (item as { name?: unknown } | null)?.name === 'default')?.template
    : inside;
  if (typeof found === 'string') return found;
  throw new WeightError(
    CONFIG_FILE,
    undefined,
    'chat_template as a text, or a list with one called default',
    typeof inside,
  );
}

async function readConfig(files: FileSource): Promise<Record<string, unknown>> {
  const text = await readText(files, CONFIG_FILE);
  if (text === undefined) return {};
  try {
    const json: unknown = JSON.parse(text);
    if (typeof json === 'object' && json !== null) return json as Record<string, unknown>;
  } catch (cause) {
    throw new WeightError(CONFIG_FILE, undefined, 'JSON', String(cause), { cause });
  }
  throw new WeightError(CONFIG_FILE, undefined, 'a JSON object', text.slice(0, 40));
}

/** A special token: a text, or an object that holds it. */
function tokenText(token: unknown): string {
  const content = typeof token === 'object' && token !== null ? Reflect.get(token, 'content') : token;
  return typeof content === 'string' ? content : '';
}

function makeTemplate(
  text: () => string,
  source: string,
  syntax: ToolSyntax,
  tokens: { bos_token: string; eos_token: string },
): ChatTemplate {
  let program: Program | undefined;
  return {
    source,
    syntax,
    render: (messages, { tools = [], thinking = true } = {}) => {
      program ??= compile(text(), source);
      return render(program, source, {
        ...tokens,
        messages: messages.map(forTemplate),
        // As chat APIs have them; templates ask whether there are any.
        tools: tools.length === 0 ? null : tools.map((tool) => ({ type: 'function', function: tool })),
        add_generation_prompt: true,
        enable_thinking: thinking,
      });
    },
  };
}

/** Templates look for a call's name and arguments in `function`, or in the call itself. */
function forTemplate({ tool_calls: calls, ...message }: ChatMessage): object {
  if (calls === undefined) return message;
  return { ...message, tool_calls: calls.map((call) => ({ type: 'function', function: call, ...call })) };
}

/** A parsed template. The library's own types name files that this module resolution does not find. */
type Program = object;

function compile(text: string, source: string): Program {
  if (text.length > MAX_TEMPLATE) {
    throw new WeightError(
      source,
      undefined,
      `a template of at most ${MAX_TEMPLATE} characters`,
      `${text.length}`,
    );
  }
  try {
    return parse(tokenize(text, { lstrip_blocks: true, trim_blocks: true })) as Program;
  } catch (cause) {
    throw new WeightError(source, undefined, 'a Jinja template', reason(cause), { cause });
  }
}

/** What is used of the library's interpreter: the two methods that all its work goes through. */
interface Evaluator {
  run(program: Program): { readonly value: unknown };
  evaluate(statement: unknown, environment: unknown): unknown;
  /** Once per turn of a loop, empty ones included. */
  evaluateBlock(statements: unknown, environment: unknown): unknown;
}

const LibraryInterpreter = Interpreter as unknown as new (environment: unknown) => Evaluator;

/** An interpreter that gives up after {@link MAX_STEPS}. */
class BoundedInterpreter extends LibraryInterpreter {
  #steps = 0;

  override evaluate(statement: unknown, environment: unknown): unknown {
    this.#step();
    return super.evaluate(statement, environment);
  }

  override evaluateBlock(statements: unknown, environment: unknown): unknown {
    this.#step();
    return super.evaluateBlock(statements, environment);
  }

  #step(): void {
    if (++this.#steps > MAX_STEPS) throw new TooManySteps();
  }
}

class TooManySteps extends Error {}

/** A template that raises an exception itself refuses the messages, e.g. for their order. */
class Refused extends Error {}

function render(program: Program, source: string, values: Record<string, unknown>): string {
  const environment = new Environment();
  const globals: Record<string, unknown> = {
    false: false,
    true: true,
    none: null,
    False: false,
    True: true,
    None: null,
    range: boundedRange,
    raise_exception: (message: unknown) => {
      throw new Refused(String(message));
    },
    strftime_now: (format: string) => strftime(format, new Date()),
  };
  for (const [name, value] of Object.entries({ ...globals, ...values })) environment.set(name, value);
  let result: unknown;
  try {
    result = new BoundedInterpreter(environment).run(program).value;
  } catch (cause) {
    if (cause instanceof Refused) throw new InputError('messages', `what ${source} accepts`, cause.message);
    const found = cause instanceof TooManySteps ? `more than ${MAX_STEPS} steps` : reason(cause);
    throw new WeightError(source, undefined, 'a chat template that can be run', found, { cause });
  }
  if (typeof result === 'string') return result;
  throw new WeightError(source, undefined, 'a template that makes a text', typeof result);
}

function boundedRange(start: number, stop?: number, step = 1): number[] {
  const [from, to] = stop === undefined ? [0, start] : [start, stop];
  const count = Math.ceil((to - from) / step);
  if (!(count <= MAX_RANGE)) throw new TooManySteps();
  return Array.from({ length: Math.max(0, count) }, (_, i) => from + i * step);
}

/** The fields of a date that templates use. */
function strftime(format: string, date: Date): string {
  const two = (value: number) => String(value).padStart(2, '0');
  const name = (options: Intl.DateTimeFormatOptions) => date.toLocaleDateString('en-US', options);
  const fields: Record<string, string> = {
    Y: String(date.getFullYear()),
    m: two(date.getMonth() + 1),
    d: two(date.getDate()),
    H: two(date.getHours()),
    M: two(date.getMinutes()),
    S: two(date.getSeconds()),
    b: name({ month: 'short' }),
    B: name({ month: 'long' }),
    a: name({ weekday: 'short' }),
    A: name({ weekday: 'long' }),
  };
  return format.replace(/%([YmdHMSbBaA])/g, (_, field: string) => fields[field]);
}

function reason(cause: unknown): string {
  const text = cause instanceof Error ? cause.message : String(cause);
  return text.replace(/\s+/g, ' ').slice(0, 200);
}

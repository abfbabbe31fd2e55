/** Chat messages, in the form that is usual for chat APIs. */
import { InputError } from '../../errors.ts';

/** A call of a tool by the model. */
export interface ToolCall {
  readonly name: string;
  readonly arguments: Readonly<Record<string, unknown>>;
}

/** One turn. */
export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant' | 'tool';
  readonly content: string;
  /** Of an assistant: what it thought before it answered. */
  readonly reasoning_content?: string;
  /** Of an assistant: the tools it called. */
  readonly tool_calls?: readonly ToolCall[];
  readonly name?: string;
}

/** A tool that the model may call: a name and a JSON schema of its parameters. */
export interface Tool {
  readonly name: string;
  readonly description?: string;
  readonly parameters?: Readonly<Record<string, unknown>>;
}

const ROLES = ['system', 'user', 'assistant', 'tool'];

/** Beyond these a file is a mistake. */
const MAX_MESSAGES = 4096;
const MAX_TOOLS = 1024;

type Json = Readonly<Record<string, unknown>>;

/**
 * Messages of a parsed JSON list. Content may be a text, or a list of parts of type "text"; tool calls are
 * `{name, arguments}` or `{function: {name, arguments}}`, with arguments as an object or as JSON text.
 *
 * @throws InputError naming the message and the field.
 */
export function parseMessages(json: unknown): ChatMessage[] {
  const list = Array.isArray(json) ? json : isObject(json) ? json.messages : json;
  if (!Array.isArray(list) || list.length === 0 || list.length > MAX_MESSAGES) {
    throw new InputError('messages', `a list of 1 to ${MAX_MESSAGES} messages`, list);
  }
  return list.map((item: unknown, i) => parseMessage(item, `messages[${i}]`));
}

/**
 * Tools of a parsed JSON list: `{name, description, parameters}` or `{type: "function", function: {…}}`.
 *
 * @throws InputError naming the tool and the field.
 */
export function parseTools(json: unknown): Tool[] {
  if (!Array.isArray(json) || json.length > MAX_TOOLS) {
    throw new InputError('tools', `a list of at most ${MAX_TOOLS} tools`, json);
  }
  return json.map((item: unknown, i) => {
    const at = `tools[${i}]`;
    const tool = inner(item, at);
    const { description, parameters } = tool;
    if (description !== undefined && typeof description !== 'string') {
      throw new InputError(`${at}.description`, 'a text', description);
    }
    if (parameters !== undefined && !isObject(parameters)) {
      throw new InputError(`${at}.parameters`, 'a JSON schema', parameters);
    }
    return {
      name: text(tool.name, `${at}.name`),
      ...(description === undefined ? {} : { description }),
      ...(parameters === undefined ? {} : { parameters }),
    };
  });
}

function parseMessage(item: unknown, at: string): ChatMessage {
  if (!isObject(item)) throw new InputError(at, 'an object', item);
  const { role, content, reasoning_content: reasoning, tool_calls: calls, name } = item;
  if (typeof role !== 'string' || !ROLES.includes(role)) {
    throw new InputError(`${at}.role`, `one of ${ROLES.join(', ')}`, role);
  }
  const silent = role === 'assistant' && (content === undefined || content === null);
  return {
    role: role as ChatMessage['role'],
    content: silent ? '' : parseContent(content, `${at}.content`),
    ...(reasoning === undefined || reasoning === null
      ? {}
      : { reasoning_content: text(reasoning, `${at}.reasoning_content`) }),
    ...(calls === undefined || calls === null ? {} : { tool_calls: parseCalls(calls, `${at}.tool_calls`) }),
    ...(name === undefined || name === null ? {} : { name: text(name, `${at}.name`) }),
  };
}

function parseContent(content: unknown, at: string): string {
  if (!Array.isArray(content)) return text(content, at);
  return content
    .map((part: unknown, i) => {
      if (!isObject(part) || part.type !== 'text') {
        throw new InputError(`${at}[${i}]`, 'a part of type "text" (images are not supported)', part);
      }
      return text(part.text, `${at}[${i}].text`);
    })
    .join('');
}

function parseCalls(calls: unknown, at: string): ToolCall[] {
  if (!Array.isArray(calls)) throw new InputError(at, 'a list of calls', calls);
  return calls.map((item: unknown, i) => {
    const call = inner(item, `${at}[${i}]`);
    const raw = call.arguments ?? {};
    const args = typeof raw === 'string' ? parseArguments(raw, `${at}[${i}].arguments`) : raw;
    if (!isObject(args)) throw new InputError(`${at}[${i}].arguments`, 'an object', raw);
    return { name: text(call.name, `${at}[${i}].name`), arguments: args };
  });
}

function parseArguments(json: string, at: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    throw new InputError(at, 'JSON', json);
  }
}

/** The object itself, or what it holds under `function`. */
function inner(item: unknown, at: string): Json {
  const found = isObject(item) && isObject(item.function) ? item.function : item;
  if (!isObject(found)) throw new InputError(at, 'an object', item);
  return found;
}

function text(value: unknown, at: string): string {
  if (typeof value === 'string') return value;
  throw new InputError(at, 'a text', value);
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

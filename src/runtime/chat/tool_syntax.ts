/** How models write calls of tools: the marks around them, and what stands between. */
import type { Tool, ToolCall } from './messages.ts';

/** Step-3 writes steptml, Step-3.5-Flash its own tags. */
export type ToolSyntax = 'step3' | 'step35';

/** The marks of a syntax. */
export interface SyntaxMarks {
  /** Begins the part of an answer that calls tools. */
  readonly open: string;
  /** Ends one call. Values may hold anything else, `<` included. */
  readonly callEnd: RegExp;
  /** Longest text that {@link callEnd} matches, white space apart. */
  readonly callEndLength: number;
  /** After the last call; undefined where calls stand one by one. */
  readonly close: string | undefined;
}

/** The marks of both syntaxes. */
export const MARKS: Readonly<Record<ToolSyntax, SyntaxMarks>> = {
  step3: {
    open: '<｜tool_calls_begin｜>',
    callEnd: /<\/steptml:invoke>\s*<｜tool_call_end｜>/,
    callEndLength: '</steptml:invoke><｜tool_call_end｜>'.length,
    close: '<｜tool_calls_end｜>',
  },
  step35: {
    open: '<tool_call>',
    callEnd: /<\/function>\s*<\/tool_call>/,
    callEndLength: '</function></tool_call>'.length,
    close: undefined,
  },
};

const NAMES = {
  step3: /<steptml:invoke name="([^"]*)">/,
  step35: /<function=([^>\n]*)>/,
} as const;

const OPEN = {
  step3: /<steptml:parameter name="([^"]*)">/g,
  step35: /<parameter=([^>\n]*)>/g,
} as const;

/** Ends a value only where another parameter or the end of the call follows, so that values may quote the mark. */
const CLOSE = {
  step3: /<\/steptml:parameter>(?=\s*(?:<steptml:parameter name="|<\/steptml:invoke>))/g,
  step35: /<\/parameter>(?=\s*(?:<parameter=|<\/function>))/g,
} as const;

/**
 * One call: the text from its begin mark up to and with its end mark. Undefined when it names no function or a value is
 * not closed.
 */
export function parseCall(syntax: ToolSyntax, text: string, tools: readonly Tool[]): ToolCall | undefined {
  const head = NAMES[syntax].exec(text);
  if (head === null) return undefined;
  const name = head[1].trim();
  const schema = tools.find((tool) => tool.name === name)?.parameters?.properties;
  const args: [string, unknown][] = [];
  const [open, close] = [new RegExp(OPEN[syntax]), new RegExp(CLOSE[syntax])];
  open.lastIndex = head.index + head[0].length;
  for (let begin = open.exec(text); begin !== null; begin = open.exec(text)) {
    close.lastIndex = begin.index + begin[0].length;
    const end = close.exec(text);
    if (end === null) return undefined;
    const raw = text.slice(begin.index + begin[0].length, end.index);
    const parameter = begin[1].trim();
    args.push([parameter, cast(trimLines(syntax, raw), typesOf(schema, parameter))]);
    open.lastIndex = end.index + end[0].length;
  }
  return { name, arguments: Object.fromEntries(args) };
}

/** Step-3.5-Flash puts values on lines of their own. */
function trimLines(syntax: ToolSyntax, value: string): string {
  return syntax === 'step3' ? value : value.replace(/^\n/, '').replace(/\n$/, '');
}

/** JSON types that a schema allows for a parameter; empty when it does not say. */
function typesOf(schema: unknown, parameter: string): string[] {
  if (typeof schema !== 'object' || schema === null || !Object.hasOwn(schema, parameter)) return [];
  const property: unknown = Reflect.get(schema, parameter);
  const one = (value: unknown): string[] => {
    if (typeof value !== 'object' || value === null) return [];
    const type: unknown = Reflect.get(value, 'type');
    const variants: unknown = Reflect.get(value, 'anyOf');
    if (typeof type === 'string') return [type];
    if (Array.isArray(type)) return type.filter((item): item is string => typeof item === 'string');
    return Array.isArray(variants) ? variants.flatMap(one) : [];
  };
  return one(property);
}

/** A text as the first of the types that it fits; a text when it fits none or none is said. */
function cast(value: string, types: readonly string[]): unknown {
  const text = value.trim();
  for (const type of types) {
    if (type === 'string' && !types.includes('null')) return value;
    if (type === 'integer' && /^[+-]?\d+$/.test(text) && Number.isSafeInteger(Number(text)))
      return Number(text);
    if (type === 'number' && text !== '' && Number.isFinite(Number(text))) return Number(text);
    if (type === 'boolean' && /^(true|false)$/i.test(text)) return text.toLowerCase() === 'true';
    if (type === 'null' && /^(null|none)$/i.test(text)) return null;
    if (type === 'object' || type === 'array') {
      const json = parseJson(text);
      if (json !== undefined && Array.isArray(json) === (type === 'array')) return json;
    }
  }
  return value;
}

function parseJson(text: string): object | undefined {
  try {
    const json: unknown = JSON.parse(text);
    return typeof json === 'object' && json !== null ? json : undefined;
  } catch {
    return undefined;
  }
}

/** JSON from files of unknown origin: what JSON.parse lets through silently is refused here. */

/** Real headers, indexes and configurations nest 4 deep. */
const MAX_DEPTH = 64;

/** How the caller turns a finding into its own typed error. */
export type JsonFailure = (expected: string, found: string, cause?: unknown) => never;

/**
 * Parses JSON, refusing keys that occur twice in one object (JSON.parse keeps the last and says nothing, so that two
 * readers could see two different files) and nesting so deep that later code would run out of stack.
 */
export function parseStrictJson(text: string, fail: JsonFailure): unknown {
  const { depth, duplicate } = scan(text);
  if (depth > MAX_DEPTH) fail(`JSON nested at most ${MAX_DEPTH} deep`, 'deeper nesting');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    fail('JSON', cause instanceof Error ? oneLine(cause.message) : 'something else', cause);
  }
  if (duplicate !== undefined) fail('every key once', `the key ${escapeKey(duplicate)} twice`);
  return value;
}

/** A key as it stands in JSON, without the quotes, which the caller's error adds around the whole. */
function escapeKey(key: string): string {
  return JSON.stringify(key.slice(0, 100)).slice(1, -1);
}

/** JSON.parse quotes the text around a fault, with its line breaks. */
function oneLine(message: string): string {
  return message.replace(/\s+/g, ' ').slice(0, 200);
}

/**
 * Nesting and the first repeated key of a text that need not be valid JSON: for invalid text the answer is only
 * bounded, as JSON.parse will refuse it. Stops at the first level that is too deep.
 */
function scan(text: string): { depth: number; duplicate: string | undefined } {
  // Keys seen in each open object; undefined for an open array.
  const open: (Set<string> | undefined)[] = [];
  let atKey = false;
  let duplicate: string | undefined;
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case 0x22: {
        const end = stringEnd(text, i);
        const keys = open.at(-1);
        if (atKey && keys !== undefined && duplicate === undefined) {
          const key = decodeKey(text.slice(i, end + 1));
          if (keys.has(key)) duplicate = key;
          keys.add(key);
        }
        atKey = false;
        i = end;
        break;
      }
      case 0x7b: // {
        open.push(new Set());
        atKey = true;
        break;
      case 0x5b: // [
        open.push(undefined);
        atKey = false;
        break;
      case 0x7d: // }
      case 0x5d: // ]
        open.pop();
        atKey = false;
        break;
      case 0x2c: // ,
        atKey = open.at(-1) !== undefined;
        break;
    }
    if (open.length > MAX_DEPTH) return { depth: open.length, duplicate };
  }
  return { depth: open.length, duplicate };
}

/** Position of the quote that closes the string opened at `begin`, or the end of the text. */
function stringEnd(text: string, begin: number): number {
  for (let i = begin + 1; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === 0x22) return i;
    if (c === 0x5c) i++;
  }
  return text.length;
}

/** The string that a JSON string literal stands for: "\u0061" and "a" are the same key. */
function decodeKey(literal: string): string {
  if (!literal.includes('\\')) return literal.slice(1, -1);
  try {
    return String(JSON.parse(literal));
  } catch {
    return literal;
  }
}

// Build step: every src/wgsl/**/*.wgsl becomes an entry of src/wgsl/generated.ts, with what the host must know of it:
// the constants that may be specialised, the bindings, and the layout of `struct Params`.
// It understands only the few declaration forms the shaders use, and stops on anything else.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '../src/wgsl');
const MARK = '// --- specialised ---';

/** @param {string} file @param {string} text */
export function describe(file, text) {
  /** @param {string} why @returns {never} */
  const fail = (why) => {
    throw new Error(`${file}: ${why}`);
  };
  const lines = text.split('\n');
  const constants = [];
  const start = lines.indexOf(MARK);
  if (start >= 0) {
    for (const line of lines.slice(start + 1)) {
      if (line.trim() === '') break;
      if (line.startsWith('//')) continue;
      const match = /^const ([A-Z][A-Z0-9_]*): (u32|f32|bool) = ([^;]+);( +\/\/.*)?$/.exec(line);
      if (match === null) fail(`not a specialisable constant: ${line}`);
      else constants.push(match[1]);
    }
  }
  const bindings = [];
  for (const line of lines.filter((l) => l.startsWith('@group'))) {
    const match =
      /^@group\(0\) @binding\((\d+)\) var<(uniform|storage, read|storage, read_write)> (\w+): ([\w<>]+);/.exec(
        line,
      );
    if (match === null) fail(`not a binding this step understands: ${line}`);
    else bindings.push({ index: Number(match[1]), access: match[2], name: match[3], type: match[4] });
  }
  const params = [];
  const struct = /^struct Params \{\n([^}]*)\}/m.exec(text);
  for (const line of struct?.[1].split('\n') ?? []) {
    if (line.trim() === '') continue;
    const match = /^ {2}(\w+): (u32|i32|f32),( +\/\/.*)?$/.exec(line);
    if (match === null) fail(`struct Params may hold only u32, i32 and f32 fields: ${line}`);
    else params.push({ name: match[1], type: match[2] });
  }
  return { constants, bindings, params };
}

function shaders() {
  return readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.wgsl'))
    .sort();
}

/** Writes generated.ts when its content changes. */
export function embed() {
  const entries = shaders().map((name) => {
    const text = readFileSync(join(root, name), 'utf8');
    const facts = describe(relative('.', join(root, name)), text);
    const key = name.replace(/\\/g, '/').replace(/\.wgsl$/, '');
    return `  ${JSON.stringify(key)}: ${JSON.stringify({ name: key, ...facts, text })},`;
  });
  const out = [
    '// Written by scripts/embed.mjs from the .wgsl files beside it. Do not edit.',
    "import type { WgslSource } from './source.ts';",
    '',
    `export type WgslName = ${shaders()
      .map((n) => JSON.stringify(n.replace(/\.wgsl$/, '')))
      .join(' | ')};`,
    '',
    'export const WGSL: Readonly<Record<WgslName, WgslSource>> = {',
    ...entries,
    '};',
    '',
  ].join('\n');
  const target = join(root, 'generated.ts');
  let before = '';
  try {
    before = readFileSync(target, 'utf8');
  } catch {}
  if (before !== out) writeFileSync(target, out);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) embed();

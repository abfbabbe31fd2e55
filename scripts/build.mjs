// Compiles src/ to dist/: embeds the shaders, then runs tsc. Does nothing when nothing changed.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { embed } from './embed.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** @param {string} folder */
function newest(folder) {
  return Math.max(
    0,
    ...readdirSync(folder, { recursive: true, encoding: 'utf8' }).map(
      (name) => statSync(join(folder, name)).mtimeMs,
    ),
  );
}

export function build() {
  embed();
  const entry = join(root, 'dist/cli.js');
  const stamp = join(root, 'dist/.stamp');
  const sources = Math.max(newest(join(root, 'src')), statSync(join(root, 'tsconfig.json')).mtimeMs);
  if (existsSync(entry) && existsSync(stamp) && statSync(stamp).mtimeMs > sources) return;
  execFileSync(
    process.execPath,
    [join(root, 'node_modules/typescript/bin/tsc'), '-p', join(root, 'tsconfig.json')],
    {
      stdio: 'inherit',
      cwd: root,
    },
  );
  writeFileSync(stamp, '');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) build();

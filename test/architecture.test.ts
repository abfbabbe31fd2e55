import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import packageJson from '../package.json' with { type: 'json' };
import { VERSION } from '../src/version.ts';

const src = fileURLToPath(new URL('../src', import.meta.url));

/** Floors from the ground up: a room may import from its own floor's row entry or anything before it. */
const FLOORS = [
  'base',
  'formats',
  'config',
  'weights',
  'wgsl',
  'kernels',
  'model',
  'cost',
  'runtime',
  'bench',
  'top',
];

const floorOf = (file: string) => {
  const [room] = file.split('/');
  if (/^(errors|tensor|version)\.ts$/.test(file)) return 'base';
  if (/^(index|cli)\.ts$/.test(file) || room === 'cli') return 'top';
  return room;
};

const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));

function importsOf(file: string): string[] {
  const text = readFileSync(join(src, file), 'utf8');
  return [...text.matchAll(/(?:from|import\()\s*'(\.[^']+)'/g)].map((match) =>
    relative(src, join(dirname(join(src, file)), match[1])),
  );
}

it('imports point one way: formats, config, weights, wgsl, kernels, model, cost, runtime, bench, entry points', () => {
  const wrong = files.flatMap((file) =>
    importsOf(file)
      .filter((target) => {
        const [from, to] = [FLOORS.indexOf(floorOf(file)), FLOORS.indexOf(floorOf(target))];
        return from < 0 || to < 0 || to > from;
      })
      .map((target) => `${file} imports ${target}`),
  );
  expect(wrong).toEqual([]);
});

it('only files made for Node import node modules, so that the rest runs in browsers', () => {
  const wrong = files.filter((file) => {
    const text = readFileSync(join(src, file), 'utf8');
    return /from 'node:/.test(text) && !file.endsWith('_node.ts') && floorOf(file) !== 'top';
  });
  expect(wrong).toEqual([]);
});

it('files stay small', () => {
  const long = files.filter((file) => readFileSync(join(src, file), 'utf8').split('\n').length > 400);
  expect(long.filter((file) => file !== 'wgsl/generated.ts')).toEqual([]);
});

it('the version is that of package.json', () => {
  expect(VERSION).toBe(packageJson.version);
});

import { it } from 'vitest';
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { brotliCompressSync, constants } from 'node:zlib';
import { directorySource } from '../src/weights/source_node.ts';
import { exchange } from './drawn/restore.ts';
const DRAW: any = { 'step3-small-bf16': { seed: 1, skip: 4214784 }, 'step3-fp8': { seed: 3, skip: 2411520 }, 'step35-awq-int4': {seed: 33, skip: 3251904}, 'step35-gguf-q8_0': {seed:31, skip:9917696}, 'step35-gguf-q4_k_s': {seed:31, skip:9917696} };
const br = (x: Uint8Array) => brotliCompressSync(x, { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 24, [constants.BROTLI_PARAM_SIZE_HINT]: x.length } });
it.each(Object.keys(DRAW))('%s', async (name) => {
  const dir = '/work/shared/golden/' + name;
  const to = 'test/fixtures/' + name;
  mkdirSync(to, { recursive: true });
  const file = name.includes('gguf') ? 'model.gguf' : 'model.safetensors';
  const x = await exchange(directorySource(dir), file, DRAW[name]);
  writeFileSync(`${to}/${file}.drawn.br`, br(x));
  const sha256 = createHash('sha256').update(readFileSync(`${dir}/${file}`)).digest('hex');
  writeFileSync(`${to}/drawn.json`, JSON.stringify({ file, ...DRAW[name], sha256 }, null, 2) + '\n');
  for (const f of ['config.json', 'golden.json']) if (existsSync(`${dir}/${f}`)) copyFileSync(`${dir}/${f}`, `${to}/${f}`);
  writeFileSync(`${to}/golden.safetensors.br`, br(readFileSync(`${dir}/golden.safetensors`)));
  for (const f of ['model.safetensors.br', 'golden.safetensors']) rmSync(`${to}/${f}`, { force: true });
}, 600000);
it('ggml blocks', () => {
  writeFileSync('test/fixtures/ggml-blocks/blocks.safetensors.br', br(readFileSync('/work/shared/golden/ggml-blocks/blocks.safetensors')));
});

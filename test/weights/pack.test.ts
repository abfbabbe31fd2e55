import { expect, it } from 'vitest';
import { layerFacts, preset } from '../../src/config/index.ts';
import { padRow } from '../../src/tensor.ts';
import type { Checkpoint } from '../../src/weights/checkpoint.ts';
import { checkpointFormats, qkvLayout, weightLayout } from '../../src/weights/layout.ts';
import { packShard } from '../../src/weights/pack.ts';
import { syntheticCheckpoint } from '../../src/weights/synthetic.ts';
import { readBytes } from './support.ts';

/** Columns of wq: as many as the widest matrix of the preset has, so that few rows fit into a buffer. */
const WIDTH = 144;

const floats = (bytes: Uint8Array) => new Float32Array(bytes.slice().buffer);

/** Rows of a packed matrix, joined over its shards, and the bytes of the checkpoint that were counted for them. */
async function packed(checkpoint: Checkpoint, name: string, limit: number) {
  const matrix = weightLayout(checkpoint.config, checkpointFormats(checkpoint), limit).matrices.get(name)!;
  const rows: number[][] = [];
  let sourceBytes = 0;
  for (const shard of matrix.shards) {
    for await (const piece of packShard(checkpoint, matrix, shard)) {
      const values = floats(piece.bytes);
      const width = padRow(matrix.cols);
      for (let r = 0; r < values.length; r += width) rows.push([...values.subarray(r, r + matrix.cols)]);
      sourceBytes += piece.sourceBytes;
    }
  }
  return { rows, sourceBytes, shards: matrix.shards.length };
}

it.each([
  { head_dim: 12, rows: 8 },
  { head_dim: 32, rows: 8 },
  { head_dim: 32, rows: 24 },
  { head_dim: 32, rows: 1000 },
  { head_dim: 10, rows: 8 },
])('rows of rotary pairs are neighbours: head_dim $head_dim in buffers of $rows rows', async (c) => {
  const config = { ...preset('step3-tiny'), share_q_dim: WIDTH, head_dim: c.head_dim };
  const checkpoint = syntheticCheckpoint(config, 5, 'f32');
  const d = config.head_dim;
  const limit = c.rows * WIDTH * 4;
  const { keyAt } = qkvLayout(layerFacts(config, 0).attention);
  const source = async (tensor: string, cols: number) => {
    const name = `model.layers.0.self_attn.${tensor}.weight`;
    const values = floats(await readBytes(checkpoint, name, 0, checkpoint.weights.get(name)!.bytes));
    return (row: number) => [...values.subarray(row * cols, (row + 1) * cols)];
  };
  // Where element i of a head lies among its rows.
  const place = (i: number) => (d % 4 === 0 ? (i % (d / 2)) * 2 + Math.floor(i / (d / 2)) : i);

  const wq = await packed(checkpoint, 'layers.0.wq', limit);
  const heads = await source('wq', WIDTH);
  const zeros = Array.from({ length: WIDTH }, () => 0);
  for (let h = 0; h < config.num_attention_heads; h++) {
    for (let i = 0; i < d; i++) expect(wq.rows[h * padRow(d) + place(i)]).toEqual(heads(h * d + i));
    for (let i = d; i < padRow(d); i++) expect(wq.rows[h * padRow(d) + i]).toEqual(zeros);
  }
  expect(wq.sourceBytes).toBe(config.num_attention_heads * d * WIDTH * 4);
  if (c.rows < 100) expect(wq.shards).toBeGreaterThan(1);

  const qkv = await packed(checkpoint, 'layers.0.qkv_proj', limit);
  const key = await source('k_proj', config.hidden_size);
  const value = await source('v_proj', config.hidden_size);
  for (let i = 0; i < d; i++) {
    expect(qkv.rows[keyAt + place(i)]).toEqual(key(i));
    expect(qkv.rows[keyAt + padRow(d) + i]).toEqual(value(i));
  }
});

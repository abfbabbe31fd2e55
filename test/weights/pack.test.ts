import { describe, expect, it } from 'vitest';
import { layerFacts, preset } from '../../src/config/index.ts';
import { WeightError } from '../../src/errors.ts';
import { padRow } from '../../src/tensor.ts';
import type { Checkpoint } from '../../src/weights/checkpoint.ts';
import { checkpointFormats, qkvLayout, weightLayout } from '../../src/weights/layout.ts';
import { packShard, Scratch } from '../../src/weights/pack.ts';
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
  let pieces = 0;
  const scratch = new Scratch();
  for (const shard of matrix.shards) {
    for await (const piece of packShard(checkpoint, matrix, shard, scratch)) {
      // Memory that holds something else, as memory that is used again does.
      const bytes = new Uint8Array(piece.bytes).fill(0xa5);
      piece.pack(bytes);
      const values = floats(bytes);
      pieces++;
      const width = padRow(matrix.cols);
      for (let r = 0; r < values.length; r += width) rows.push([...values.subarray(r, r + width)]);
      sourceBytes += piece.sourceBytes;
    }
  }
  return { rows, sourceBytes, pieces, shards: matrix.shards.length };
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

/** Rows of a tensor in f32, each padded with zeros to `width`. */
async function sourceRows(checkpoint: Checkpoint, name: string, cols: number, width: number) {
  const values = floats(await readBytes(checkpoint, name, 0, checkpoint.weights.get(name)!.bytes));
  const padding = Array.from({ length: width - cols }, () => 0);
  return (row: number) => [...values.subarray(row * cols, (row + 1) * cols), ...padding];
}

it.each([
  { hidden_size: 56, moe_intermediate_size: 40, limit: 2 ** 31 },
  { hidden_size: 51, moe_intermediate_size: 37, limit: 2 ** 31 },
  { hidden_size: 51, moe_intermediate_size: 37, limit: 24 * 56 * 4 },
])('gate and up rows alternate, padding is zero: $hidden_size columns, $limit bytes', async (c) => {
  const config = { ...preset('step3-tiny'), ...c };
  const checkpoint = syntheticCheckpoint(config, 6, 'f32');
  const [width, experts] = [config.moe_intermediate_size, config.moe_num_experts];
  const got = await packed(checkpoint, 'layers.1.moe.gate_up_proj', c.limit);
  const read = (proj: string) =>
    sourceRows(checkpoint, `model.layers.1.moe.${proj}_proj.weight`, c.hidden_size, padRow(c.hidden_size));
  const [gate, up] = [await read('gate'), await read('up')];
  expect(got.rows).toHaveLength(experts * 2 * width);
  for (let row = 0; row < experts * width; row++) {
    expect(got.rows[2 * row]).toEqual(gate(row));
    expect(got.rows[2 * row + 1]).toEqual(up(row));
  }
  expect(got.sourceBytes).toBe(2 * experts * width * c.hidden_size * 4);
  if (c.limit < 2 ** 31) expect(got.shards).toBeGreaterThan(experts);
});

it.each([10, 32])('columns of heads are padded each: head_dim %i', async (head_dim) => {
  const config = { ...preset('step3-tiny'), head_dim };
  const checkpoint = syntheticCheckpoint(config, 7, 'f32');
  const cols = config.num_attention_heads * head_dim;
  const got = await packed(checkpoint, 'layers.0.o_proj', 2 ** 31);
  const source = await sourceRows(checkpoint, 'model.layers.0.self_attn.o_proj.weight', cols, cols);
  const zeros = Array.from({ length: padRow(head_dim) - head_dim }, () => 0);
  for (let row = 0; row < config.hidden_size; row++) {
    const heads = Array.from({ length: config.num_attention_heads }, (_, h) => [
      ...source(row).slice(h * head_dim, (h + 1) * head_dim),
      ...zeros,
    ]);
    expect(got.rows[row]).toEqual(heads.flat());
  }
});

describe('a matrix of several pieces', () => {
  const config = {
    ...preset('step3-tiny'),
    hidden_size: 70003,
    intermediate_size: 61,
    num_attention_heads: 1,
  };
  const checkpoint = syntheticCheckpoint(config, 8, 'f32');

  it('has every row in its place, and the pieces follow each other', async () => {
    const layout = weightLayout(config, checkpointFormats(checkpoint), 2 ** 31);
    const matrix = layout.matrices.get('layers.0.mlp.gate_up_proj')!;
    const width = padRow(70003);
    const scratch = new Scratch();
    const weights = ['gate', 'up'].map(
      (proj) => checkpoint.weight(`model.layers.0.mlp.${proj}_proj.weight`)!,
    );
    let end = 0;
    let pieces = 0;
    for await (const piece of packShard(checkpoint, matrix, matrix.shards[0], scratch)) {
      expect(piece.offset).toBe(end);
      const bytes = new Uint8Array(piece.bytes).fill(0xa5);
      piece.pack(bytes);
      for (let at = 0; at < piece.bytes; at += width * 4) {
        const row = (piece.offset + at) / (width * 4);
        const { values } = await weights[row % 2].readRows(0, row >> 1, (row >> 1) + 1);
        const expected = Buffer.concat([values, new Uint8Array((width - 70003) * 4)]);
        expect(Buffer.compare(expected, bytes.subarray(at, at + width * 4))).toBe(0);
      }
      end += piece.bytes;
      pieces++;
    }
    expect(end).toBe(matrix.rows * width * 4);
    expect(pieces).toBeGreaterThan(2);
  });
});

it('fails with the error of the first part, when no read is under way', async () => {
  const tiny = syntheticCheckpoint(preset('step3-tiny'), 9, 'f32');
  let underWay = 0;
  const failing = (name: string, after: number) => async () => {
    underWay++;
    await new Promise((resolve) => setTimeout(resolve, after));
    underWay--;
    throw new WeightError('f', name, 'a disk', 'none');
  };
  const late = { gate_proj: 20, up_proj: 1 };
  const checkpoint: Checkpoint = {
    ...tiny,
    weight: (name) => {
      const part = Object.entries(late).find(([proj]) => name.includes(proj));
      return part === undefined
        ? tiny.weight(name)
        : { ...tiny.weight(name)!, readRows: failing(part[0], part[1]) };
    },
  };
  await expect(packed(checkpoint, 'layers.0.mlp.gate_up_proj', 2 ** 31)).rejects.toThrow(/gate_proj/);
  expect(underWay).toBe(0);
});

it('gives aligned memory that does not overlap, the same again', () => {
  const scratch = new Scratch();
  const [a, b, c] = scratch.take([5, 0, 33.5]);
  expect([a.byteOffset % 16, b.byteOffset % 16, c.byteOffset % 16]).toEqual([0, 0, 0]);
  expect(a.length).toBeGreaterThanOrEqual(5);
  expect(c.length).toBeGreaterThanOrEqual(34);
  expect(c.byteOffset).toBeGreaterThanOrEqual(a.byteOffset + a.length);
  expect(scratch.take([20])[0].buffer).toBe(a.buffer);
});

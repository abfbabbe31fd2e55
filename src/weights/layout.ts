/**
 * How checkpoint tensors lie on the device: which are fused into one matrix, in what row order, padded how, and how a
 * matrix that exceeds one binding is cut into shards. Kernels know only the result.
 */
import {
  type AttentionFacts,
  type FfnFacts,
  hasCentredNorms,
  layerFacts,
  type ModelConfig,
} from '../config/index.ts';
import { WeightError } from '../errors.ts';
import { isPlain, type RowFormat, rowBytes, rowFault } from '../formats/index.ts';
import { ceilDiv, padRow } from '../tensor.ts';
import type { Checkpoint } from './checkpoint.ts';

/**
 * Element i of the source lies at
 * `base + floor(i / group) * groupStride + (i % run) * step + floor((i % group) / run)`, where `run` divides `group`.
 */
export interface Placement {
  readonly base: number;
  readonly group: number;
  readonly groupStride: number;
  /** Elements that lie `step` apart; the runs of a group lie beside each other's elements. */
  readonly run: number;
  readonly step: number;
}

/** A tensor `[experts, rows, cols]` within a fused matrix. */
export interface WeightPart {
  readonly tensor: string;
  readonly sourceRows: number;
  readonly sourceCols: number;
  readonly rows: Placement;
  readonly cols: Placement;
}

/** Rows of a matrix that one buffer holds: some whole experts, or some rows of one. */
export interface RowRange {
  readonly expertBegin: number;
  readonly expertCount: number;
  readonly rowBegin: number;
  readonly rowCount: number;
}

/** Rows of a matrix in one buffer, all in one format. */
export type WeightShard = RowRange & RowFormat;

/** A weight matrix `[experts, rows, padRow(cols)]` as kernels read it. Rows that no part covers are zero. */
export interface WeightMatrix {
  readonly name: string;
  readonly experts: number;
  readonly rows: number;
  readonly cols: number;
  readonly parts: readonly WeightPart[];
  readonly shards: readonly WeightShard[];
}

/** A norm's gamma or a router's bias `[length]`, kept as f32 padded with zeros. */
export interface WeightVector {
  readonly name: string;
  readonly tensor: string;
  readonly length: number;
  /** Added to every element: 1 for norms that are stored less 1. */
  readonly plus: number;
}

/** Everything that is loaded from a checkpoint. */
export interface WeightLayout {
  readonly matrices: ReadonlyMap<string, WeightMatrix>;
  readonly vectors: ReadonlyMap<string, WeightVector>;
}

/** Format in which a tensor is stored. */
export type FormatOf = (tensor: string) => RowFormat;

/** Formats of a checkpoint's own tensors. */
export function checkpointFormats(checkpoint: Checkpoint): FormatOf {
  return (tensor) => {
    const weight = checkpoint.weight(tensor);
    if (weight === undefined) throw new WeightError(checkpoint.name, tensor, 'a weight', 'nothing');
    return { format: weight.format, group: weight.groupCols };
  };
}

const straight = (length: number, base = 0): Placement => ({
  base,
  group: length,
  groupStride: length,
  run: length,
  step: 1,
});

/** Heads of `dim` elements, each padded to a multiple of 8. */
const heads = (dim: number, base = 0): Placement => ({
  base,
  group: dim,
  groupStride: padRow(dim),
  run: dim,
  step: 1,
});

/** Heads that are rotated: their halves alternate where linear layers rotate their results, else as {@link heads}. */
const rotaryHeads = (dim: number, base = 0): Placement =>
  pairsHeads(dim) ? { ...heads(dim, base), run: dim / 2, step: 2 } : heads(dim, base);

/** Every second row, from `base`: gate rows and up rows alternate, so that one team computes both. */
const alternate = (base: number): Placement => ({ base, group: 1, groupStride: 2, run: 1, step: 1 });

/**
 * The layout for a configuration (tensor names of the published checkpoints).
 *
 * `maxBindingBytes` bounds every shard. `blocks`: multi-token-prediction blocks that are loaded, from the first.
 *
 * @throws WeightError when tensors whose rows alternate differ in format, rows are no whole blocks of theirs, or 8 rows
 *   exceed a binding.
 */
export function weightLayout(
  config: ModelConfig,
  formats: FormatOf,
  maxBindingBytes: number,
  blocks = 0,
): WeightLayout {
  const matrices = new Map<string, WeightMatrix>();
  const vectors = new Map<string, WeightVector>();
  const D = config.hidden_size;

  const matrix = (
    name: string,
    experts: number,
    rows: number,
    cols: number,
    parts: readonly (readonly [
      tensor: string,
      sourceRows: number,
      rows: Placement,
      cols?: Placement,
      sourceCols?: number,
    ])[],
  ) => {
    const placed = parts.map(([tensor, sourceRows, rowPlacement, colPlacement, sourceCols]) => ({
      tensor,
      sourceRows,
      sourceCols: sourceCols ?? cols,
      rows: rowPlacement,
      cols: colPlacement ?? straight(cols),
    }));
    matrices.set(name, {
      name,
      experts,
      rows,
      cols,
      parts: placed,
      shards: segments(name, rows, cols, placed, formats).flatMap((segment) =>
        shards(name, experts, segment, rowBytes(segment, cols), maxBindingBytes),
      ),
    });
  };
  const vector = (name: string, tensor: string, length: number, plus = 0) =>
    vectors.set(name, { name, tensor, length, plus });
  const norm = (name: string, module: string, length: number) =>
    vector(name, `${module}.weight`, length, hasCentredNorms(config) ? 1 : 0);
  const gateUp = (name: string, from: string, experts: number, width: number) =>
    matrix(name, experts, 2 * width, D, [
      [`${from}.gate_proj.weight`, width, alternate(0)],
      [`${from}.up_proj.weight`, width, alternate(1)],
    ]);
  const down = (name: string, from: string, experts: number, width: number) =>
    matrix(name, experts, D, width, [[`${from}.down_proj.weight`, D, straight(D)]]);

  const attention = (at: string, from: string, facts: AttentionFacts) => {
    const { heads: H, kvHeads, headDim: d, latent } = facts;
    const { keyAt, valueAt, gateAt, width } = qkvLayout(facts);
    const key = latent === undefined ? heads : rotaryHeads;
    matrix(`${at}.qkv_proj`, 1, width, D, [
      latent === undefined
        ? [`${from}.q_proj.weight`, H * d, heads(d)]
        : [`${from}.q_proj.weight`, latent, straight(latent)],
      [`${from}.k_proj.weight`, kvHeads * d, key(d, keyAt)],
      [`${from}.v_proj.weight`, kvHeads * d, heads(d, valueAt)],
      ...(facts.gate ? [[`${from}.g_proj.weight`, H, straight(H, gateAt)] as const] : []),
    ]);
    if (facts.headNorm) {
      norm(`${at}.q_norm`, `${from}.q_norm`, d);
      norm(`${at}.k_norm`, `${from}.k_norm`, d);
    }
    if (latent !== undefined) {
      norm(`${at}.inter_norm`, `${from}.inter_norm`, latent);
      matrix(`${at}.wq`, 1, H * padRow(d), latent, [[`${from}.wq.weight`, H * d, rotaryHeads(d)]]);
    }
    matrix(`${at}.o_proj`, 1, D, H * padRow(d), [[`${from}.o_proj.weight`, D, straight(D), heads(d), H * d]]);
  };
  const ffn = (at: string, from: string, facts: FfnFacts) => {
    if (facts.kind === 'dense') {
      gateUp(`${at}.mlp.gate_up_proj`, `${from}.mlp`, 1, facts.width);
      down(`${at}.mlp.down_proj`, `${from}.mlp`, 1, facts.width);
      return;
    }
    const { experts: E, scoring } = facts.routing;
    matrix(`${at}.moe.gate`, 1, E, D, [[`${from}.moe.gate.weight`, E, straight(E)]]);
    if (scoring === 'sigmoid') vector(`${at}.moe.router_bias`, `${from}.moe.router_bias`, E);
    gateUp(`${at}.moe.gate_up_proj`, `${from}.moe`, E, facts.width);
    down(`${at}.moe.down_proj`, `${from}.moe`, E, facts.width);
    gateUp(`${at}.share_expert.gate_up_proj`, `${from}.share_expert`, 1, facts.shareWidth);
    down(`${at}.share_expert.down_proj`, `${from}.share_expert`, 1, facts.shareWidth);
  };
  const vocabulary = (name: string, tensor: string) =>
    matrix(name, 1, config.vocab_size, D, [[tensor, config.vocab_size, straight(config.vocab_size)]]);

  vocabulary('embed_tokens', 'model.embed_tokens.weight');
  for (let layer = 0; layer < config.num_hidden_layers + blocks; layer++) {
    const from = `model.layers.${layer}`;
    const at = `layers.${layer}`;
    const facts = layerFacts(config, layer);
    norm(`${at}.input_layernorm`, `${from}.input_layernorm`, D);
    attention(at, `${from}.self_attn`, facts.attention);
    norm(`${at}.post_attention_layernorm`, `${from}.post_attention_layernorm`, D);
    ffn(at, from, facts.ffn);
    if (layer < config.num_hidden_layers) continue;
    norm(`${at}.enorm`, `${from}.enorm`, D);
    norm(`${at}.hnorm`, `${from}.hnorm`, D);
    matrix(`${at}.eh_proj`, 1, D, 2 * padRow(D), [
      [`${from}.eh_proj.weight`, D, straight(D), heads(D), 2 * D],
    ]);
    norm(`${at}.shared_head.norm`, `${from}.transformer.shared_head.norm`, D);
    vocabulary(`${at}.shared_head.output`, `${from}.transformer.shared_head.output.weight`);
  }
  norm('norm', 'model.norm', D);
  vocabulary('lm_head', 'lm_head.weight');
  return { matrices, vectors };
}

/**
 * Whether elements i and i + dim/2 of query and key heads lie in neighbouring rows 2i and 2i + 1 of their weights, so
 * that the four rows which a linear layer finishes together are two whole rotary pairs.
 */
export function pairsHeads(dim: number): boolean {
  return dim % 4 === 0;
}

/**
 * Where keys, values and gates start in a row of the fused projection, and how wide the row is. Before the keys stand
 * the latent query, or whole query heads; every head is padded to a multiple of 8, gates (one per query head) together.
 */
export function qkvLayout(facts: AttentionFacts): {
  keyAt: number;
  valueAt: number;
  gateAt: number;
  width: number;
} {
  const { heads: H, kvHeads, headDim, latent, gate } = facts;
  const keyAt = latent === undefined ? H * padRow(headDim) : padRow(latent);
  const valueAt = keyAt + kvHeads * padRow(headDim);
  const gateAt = valueAt + kvHeads * padRow(headDim);
  return { keyAt, valueAt, gateAt, width: gateAt + (gate ? padRow(H) : 0) };
}

/** Name of the buffer of one shard. */
export function shardName(matrix: string, shard: number): string {
  return `${matrix}#${shard}`;
}

/** Rows [begin, begin + count) of a matrix that are in one format. */
interface Segment extends RowFormat {
  readonly begin: number;
  readonly count: number;
}

const sameFormat = (a: RowFormat, b: RowFormat) => a.format === b.format && a.group === b.group;

/** Cuts a matrix where its parts change their format. Rows between two parts go with the first. */
function segments(
  name: string,
  rows: number,
  cols: number,
  parts: readonly WeightPart[],
  formats: FormatOf,
): Segment[] {
  const found: Segment[] = [];
  let end = 0;
  for (const part of parts) {
    const row = formats(part.tensor);
    checkPart(name, part, cols, row);
    const before = found.at(-1);
    const { base, group, groupStride } = part.rows;
    const apart = base >= end && base % 8 === 0;
    end = Math.max(end, base + Math.ceil(part.sourceRows / group) * groupStride);
    if (before !== undefined && sameFormat(before, row)) continue;
    if (before !== undefined && !apart) {
      throw new WeightError(
        name,
        part.tensor,
        `the format of ${parts[0].tensor}, ${before.format}`,
        row.format,
      );
    }
    const begin = found.length === 0 ? 0 : base;
    if (before !== undefined) found[found.length - 1] = { ...before, count: begin - before.begin };
    found.push({ ...row, begin, count: rows - begin });
  }
  return found;
}

/** Compressed rows cannot be taken apart: their columns stay where they are. */
function checkPart(name: string, part: WeightPart, cols: number, row: RowFormat): void {
  if (isPlain(row.format)) return;
  const fault = rowFault(row, cols);
  if (fault !== undefined) throw new WeightError(name, part.tensor, fault, `rows of ${cols} columns`);
  const { base, group, groupStride } = part.cols;
  if (part.sourceCols === cols && base === 0 && (group >= cols || groupStride === group)) return;
  throw new WeightError(
    name,
    part.tensor,
    'heads of a multiple of 8 elements',
    `${row.format} heads of ${group}`,
  );
}

/**
 * Cuts rows of `bytes` each into ranges of at most `limit` bytes: whole experts where one fits, spread evenly, so that a call
 * can bind one more buffer as if it went on in the same way.
 */
function shards(
  name: string,
  experts: number,
  { begin, count, format, group }: Segment,
  bytes: number,
  limit: number,
): WeightShard[] {
  const row = group === undefined ? { format } : { format, group };
  const ranges: WeightShard[] = [];
  const mostEach = Math.floor(limit / (count * bytes));
  if (mostEach >= 1) {
    const expertsEach = ceilDiv(experts, ceilDiv(experts, mostEach));
    for (let e = 0; e < experts; e += expertsEach) {
      const expertCount = Math.min(expertsEach, experts - e);
      ranges.push({ ...row, expertBegin: e, expertCount, rowBegin: begin, rowCount: count });
    }
    return ranges;
  }
  // Multiples of 8 rows keep gate/up pairs and the kernels' groups of four together.
  const rowsEach = Math.floor(limit / bytes / 8) * 8;
  if (rowsEach < 8) {
    throw new WeightError(
      name,
      undefined,
      `8 rows within one binding of ${limit} bytes`,
      `${bytes} bytes per row`,
    );
  }
  for (let e = 0; e < experts; e++) {
    for (let r = 0; r < count; r += rowsEach) {
      const rowCount = Math.min(rowsEach, count - r);
      ranges.push({ ...row, expertBegin: e, expertCount: 1, rowBegin: begin + r, rowCount });
    }
  }
  return ranges;
}

/**
 * How checkpoint tensors lie on the device: which are fused into one matrix, in what row order, padded how, and how a
 * matrix that exceeds one binding is cut into shards. Kernels know only the result.
 */
import type { Step3Config } from '../config/index.ts';
import { WeightError } from '../errors.ts';
import { FORMAT_BYTES, type PlainFormat, padRow } from '../tensor.ts';
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

/** A weight matrix `[experts, rows, padRow(cols)]` as kernels read it. Rows that no part covers are zero. */
export interface WeightMatrix {
  readonly name: string;
  readonly format: PlainFormat;
  readonly experts: number;
  readonly rows: number;
  readonly cols: number;
  readonly parts: readonly WeightPart[];
  readonly shards: readonly RowRange[];
}

/** A norm's gamma `[length]`, kept as f32 padded with zeros. */
export interface WeightVector {
  readonly name: string;
  readonly tensor: string;
  readonly length: number;
}

/** Everything that is loaded from a checkpoint. */
export interface WeightLayout {
  readonly matrices: ReadonlyMap<string, WeightMatrix>;
  readonly vectors: ReadonlyMap<string, WeightVector>;
}

/** Format in which a tensor is stored. */
export type FormatOf = (tensor: string) => PlainFormat;

/** Formats of a checkpoint's own tensors. */
export function checkpointFormats(checkpoint: Checkpoint): FormatOf {
  return (tensor) => {
    const format = checkpoint.weight(tensor)?.format;
    if (format !== 'f32' && format !== 'f16' && format !== 'bf16') {
      throw new WeightError(checkpoint.name, tensor, 'f32, f16 or bf16', format ?? 'nothing');
    }
    return format;
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
 * `maxBindingBytes` bounds every shard.
 *
 * @throws WeightError when tensors that are fused differ in dtype, or one row exceeds a binding.
 */
export function weightLayout(config: Step3Config, formats: FormatOf, maxBindingBytes: number): WeightLayout {
  const matrices = new Map<string, WeightMatrix>();
  const vectors = new Map<string, WeightVector>();
  const D = config.hidden_size;
  const Q = config.share_q_dim;
  const d = config.head_dim;
  const H = config.num_attention_heads;

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
    const format = formats(parts[0][0]);
    const other = parts.find((part) => formats(part[0]) !== format);
    if (other !== undefined) {
      throw new WeightError(name, other[0], `the dtype of ${parts[0][0]}, ${format}`, formats(other[0]));
    }
    matrices.set(name, {
      name,
      format,
      experts,
      rows,
      cols,
      parts: parts.map(([tensor, sourceRows, rowPlacement, colPlacement, sourceCols]) => ({
        tensor,
        sourceRows,
        sourceCols: sourceCols ?? cols,
        rows: rowPlacement,
        cols: colPlacement ?? straight(cols),
      })),
      shards: shards(name, experts, rows, padRow(cols) * FORMAT_BYTES[format], maxBindingBytes),
    });
  };
  const vector = (name: string, tensor: string, length: number) =>
    vectors.set(name, { name, tensor, length });
  const gateUp = (name: string, from: string, experts: number, width: number) =>
    matrix(name, experts, 2 * width, D, [
      [`${from}.gate_proj.weight`, width, alternate(0)],
      [`${from}.up_proj.weight`, width, alternate(1)],
    ]);
  const down = (name: string, from: string, experts: number, width: number) =>
    matrix(name, experts, D, width, [[`${from}.down_proj.weight`, D, straight(D)]]);

  matrix('embed_tokens', 1, config.vocab_size, D, [
    ['model.embed_tokens.weight', config.vocab_size, straight(config.vocab_size)],
  ]);
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const from = `model.layers.${layer}`;
    const at = `layers.${layer}`;
    const { keyAt, width } = qkvLayout(config);
    vector(`${at}.input_layernorm`, `${from}.input_layernorm.weight`, D);
    matrix(`${at}.qkv_proj`, 1, width, D, [
      [`${from}.self_attn.q_proj.weight`, Q, straight(Q)],
      [`${from}.self_attn.k_proj.weight`, d, rotaryHeads(d, keyAt)],
      [`${from}.self_attn.v_proj.weight`, d, straight(d, keyAt + padRow(d))],
    ]);
    vector(`${at}.inter_norm`, `${from}.self_attn.inter_norm.weight`, Q);
    matrix(`${at}.wq`, 1, H * padRow(d), Q, [[`${from}.self_attn.wq.weight`, H * d, rotaryHeads(d)]]);
    matrix(`${at}.o_proj`, 1, D, H * padRow(d), [
      [`${from}.self_attn.o_proj.weight`, D, straight(D), heads(d), H * d],
    ]);
    vector(`${at}.post_attention_layernorm`, `${from}.post_attention_layernorm.weight`, D);
    if (config.moe_layers.includes(layer)) {
      const E = config.moe_num_experts;
      matrix(`${at}.moe.gate`, 1, E, D, [[`${from}.moe.gate.weight`, E, straight(E)]]);
      gateUp(`${at}.moe.gate_up_proj`, `${from}.moe`, E, config.moe_intermediate_size);
      down(`${at}.moe.down_proj`, `${from}.moe`, E, config.moe_intermediate_size);
      gateUp(`${at}.share_expert.gate_up_proj`, `${from}.share_expert`, 1, config.share_expert_dim);
      down(`${at}.share_expert.down_proj`, `${from}.share_expert`, 1, config.share_expert_dim);
    } else {
      gateUp(`${at}.mlp.gate_up_proj`, `${from}.mlp`, 1, config.intermediate_size);
      down(`${at}.mlp.down_proj`, `${from}.mlp`, 1, config.intermediate_size);
    }
  }
  vector('norm', 'model.norm.weight', D);
  matrix('lm_head', 1, config.vocab_size, D, [
    ['lm_head.weight', config.vocab_size, straight(config.vocab_size)],
  ]);
  return { matrices, vectors };
}

/**
 * Whether elements i and i + dim/2 of query and key heads lie in neighbouring rows 2i and 2i + 1 of their weights, so
 * that the four rows which a linear layer finishes together are two whole rotary pairs.
 */
export function pairsHeads(dim: number): boolean {
  return dim % 4 === 0;
}

/** Where the key starts in a row of the fused q/k/v result, and how wide the row is (q, k and v each padded to 8). */
export function qkvLayout(config: Step3Config): { keyAt: number; width: number } {
  const keyAt = padRow(config.share_q_dim);
  return { keyAt, width: keyAt + 2 * padRow(config.head_dim) };
}

/** Name of the buffer of one shard. */
export function shardName(matrix: string, shard: number): string {
  return `${matrix}#${shard}`;
}

/** Cuts `[experts, rows]` rows of `rowBytes` into ranges of at most `limit` bytes: whole experts where one fits. */
function shards(name: string, experts: number, rows: number, rowBytes: number, limit: number): RowRange[] {
  const ranges: RowRange[] = [];
  const expertsEach = Math.floor(limit / (rows * rowBytes));
  if (expertsEach >= 1) {
    for (let e = 0; e < experts; e += expertsEach) {
      ranges.push({
        expertBegin: e,
        expertCount: Math.min(expertsEach, experts - e),
        rowBegin: 0,
        rowCount: rows,
      });
    }
    return ranges;
  }
  // Multiples of 8 rows keep gate/up pairs and the kernels' groups of four together.
  const rowsEach = Math.floor(limit / rowBytes / 8) * 8;
  if (rowsEach < 8) {
    throw new WeightError(
      name,
      undefined,
      `8 rows within one binding of ${limit} bytes`,
      `${rowBytes} bytes per row`,
    );
  }
  for (let e = 0; e < experts; e++) {
    for (let r = 0; r < rows; r += rowsEach) {
      ranges.push({ expertBegin: e, expertCount: 1, rowBegin: r, rowCount: Math.min(rowsEach, rows - r) });
    }
  }
  return ranges;
}

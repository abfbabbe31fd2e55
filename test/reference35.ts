/**
 * Step-3.5-Flash in double precision, written down from its definition alone: whole sequences, no cache, no plan, nothing
 * shared with the code under test but the readers of config.json and tensors.
 */
import type { Step35Config } from '../src/config/index.ts';
import { decodeWeights, type PlainFormat } from '../src/tensor.ts';
import type { Checkpoint } from '../src/weights/checkpoint.ts';

type Rows = number[][];

/** What {@link reference35} computes: a row per position. */
export interface Reference {
  readonly logits: Rows;
  /** Per block: logits of the token `block + 2` positions after a row's, as far as the text says what is between. */
  readonly drafts: Rows[];
}

const sigmoid = (z: number) => 1 / (1 + Math.exp(-z));
const dot = (a: ArrayLike<number>, b: ArrayLike<number>) => {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
};
const add = (a: Rows, b: Rows): Rows => a.map((row, t) => row.map((v, i) => v + b[t][i]));

/** Logits of the trunk and its blocks for `tokens`. `stored`: what is left of a key or value of one head. */
export async function reference35(
  checkpoint: Checkpoint,
  tokens: readonly number[],
  stored: (row: number[]) => number[] = (row) => row,
): Promise<Reference> {
  const config = checkpoint.config as Step35Config;
  const tensors = new Map<string, Float64Array>();
  for (const { name, format, experts, rows, cols, readRows } of checkpoint.weights.values()) {
    const out = new Float64Array(experts * rows * cols);
    for (let expert = 0; expert < experts; expert++) {
      const at = expert * rows * cols;
      const { values } = await readRows(expert, 0, rows);
      decodeWeights(format as PlainFormat, values, 0, rows * cols, out.subarray(at, at + rows * cols));
    }
    tensors.set(name, out);
  }
  return new Forward(config, (name) => tensors.get(name)!, stored).run(tokens);
}

class Forward {
  private readonly config: Step35Config;
  private readonly tensor: (name: string) => Float64Array;
  private readonly stored: (row: number[]) => number[];

  constructor(
    config: Step35Config,
    tensor: (name: string) => Float64Array,
    stored: (row: number[]) => number[],
  ) {
    this.config = config;
    this.tensor = tensor;
    this.stored = stored;
  }

  run(tokens: readonly number[]): Reference {
    const { num_hidden_layers: L, num_nextn_predict_layers: blocks } = this.config;
    const embed = (ids: readonly number[]) => ids.map((id) => this.row('model.embed_tokens.weight', id));
    let h = embed(tokens);
    for (let layer = 0; layer < L; layer++) h = this.layer(h, layer);
    const logits = this.linear(this.norm(h, 'model.norm'), 'lm_head');
    const drafts: Rows[] = [];
    for (let block = 0; block < blocks; block++) {
      const at = `model.layers.${L + block}`;
      const next = this.norm(embed(tokens.slice(block + 1)), `${at}.enorm`);
      const hidden = this.norm(h, `${at}.hnorm`);
      const pairs = next.map((row, t) => [...row, ...hidden[t]]);
      h = this.layer(this.linear(pairs, `${at}.eh_proj`), L + block);
      const head = this.norm(h, `${at}.transformer.shared_head.norm`);
      drafts.push(this.linear(head, `${at}.transformer.shared_head.output`));
    }
    return { logits, drafts };
  }

  private row(name: string, index: number): number[] {
    const { hidden_size: D } = this.config;
    return [...this.tensor(name).subarray(index * D, (index + 1) * D)];
  }

  private linear(x: Rows, module: string, expert = 0, rowsEach?: number): Rows {
    const w = this.tensor(`${module}.weight`);
    const cols = x[0].length;
    const rows = rowsEach ?? w.length / cols;
    const from = (n: number) => (expert * rows + n) * cols;
    return x.map((input) =>
      Array.from({ length: rows }, (_, n) => dot(input, w.subarray(from(n), from(n) + cols))),
    );
  }

  private norm(x: Rows, module: string): Rows {
    const w = this.tensor(`${module}.weight`);
    const { zero_centered, rms_norm_eps } = this.config;
    return x.map((row) => {
      const rms = Math.sqrt(dot(row, row) / row.length + rms_norm_eps);
      return row.map((v, i) => (v / rms) * (w[i] + (zero_centered ? 1 : 0)));
    });
  }

  private layer(h: Rows, layer: number): Rows {
    const at = `model.layers.${layer}`;
    const after = add(h, this.attention(this.norm(h, `${at}.input_layernorm`), layer));
    const x = this.norm(after, `${at}.post_attention_layernorm`);
    const limit = this.config.swiglu_limits_shared[layer];
    if (!this.config.moe_layers.includes(layer)) return add(after, this.ffn(x, `${at}.mlp`, limit));
    return add(add(after, this.ffn(x, `${at}.share_expert`, limit)), this.experts(x, layer));
  }

  private attention(x: Rows, layer: number): Rows {
    const { config } = this;
    const at = `model.layers.${layer}.self_attn`;
    const sliding = config.layer_types[layer] === 'sliding_attention';
    const {
      num_attention_heads: H,
      num_attention_groups: G,
      head_dim: d,
    } = sliding ? config.attention_other_setting : config;
    const split = (rows: Rows) =>
      rows.map((row) => Array.from({ length: row.length / d }, (_, i) => row.slice(i * d, (i + 1) * d)));
    const frequencies = this.frequencies(layer, d);
    const turned = (rows: Rows, norm: string) =>
      split(rows).map((heads, t) =>
        this.norm(heads, `${at}.${norm}`).map((head) => rotate(head, t, frequencies)),
      );
    const q = turned(this.linear(x, `${at}.q_proj`), 'q_norm');
    const kept = (rows: Rows[]) => rows.map((heads) => heads.map(this.stored));
    const k = kept(turned(this.linear(x, `${at}.k_proj`), 'k_norm'));
    const v = kept(split(this.linear(x, `${at}.v_proj`)));
    const gates = this.linear(x, `${at}.g_proj`);
    const out = x.map((_, t) =>
      Array.from({ length: H }, (_, h) => {
        const g = Math.floor(h / (H / G));
        const weights = new Map<number, number>();
        for (let j = 0; j <= t; j++) {
          if (sliding && t - j >= config.sliding_window) continue;
          weights.set(j, Math.exp(dot(q[t][h], k[j][g]) / Math.sqrt(d)));
        }
        const total = [...weights.values()].reduce((a, b) => a + b);
        return Array.from({ length: d }, (_, i) => {
          let sum = 0;
          for (const [j, weight] of weights) sum += (weight / total) * v[j][g][i];
          return sigmoid(gates[t][h]) * sum;
        });
      }).flat(),
    );
    return this.linear(out, `${at}.o_proj`);
  }

  private frequencies(layer: number, d: number): number[] {
    const { config } = this;
    const r = d * config.partial_rotary_factors[layer];
    const plain = Array.from({ length: r / 2 }, (_, i) => config.rope_theta[layer] ** ((-2 * i) / r));
    const scaling = config.rope_scaling;
    if (scaling === undefined || !config.yarn_only_types.includes(config.layer_types[layer])) return plain;
    const { original_max_position_embeddings: trained, low_freq_factor, high_freq_factor, factor } = scaling;
    return plain.map((frequency) => {
      const wavelength = (2 * Math.PI) / frequency;
      if (wavelength < trained / high_freq_factor) return frequency;
      if (wavelength > trained / low_freq_factor) return frequency / factor;
      const s = (trained / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
      return frequency * ((1 - s) / factor + s);
    });
  }

  private ffn(x: Rows, at: string, limit: number, expert = 0, width?: number): Rows {
    const gate = this.linear(x, `${at}.gate_proj`, expert, width);
    const up = this.linear(x, `${at}.up_proj`, expert, width);
    const act = gate.map((row, t) =>
      row.map((z, i) => {
        const silu = z * sigmoid(z);
        if (limit === 0) return silu * up[t][i];
        return Math.min(silu, limit) * Math.min(limit, Math.max(-limit, up[t][i]));
      }),
    );
    return this.linear(
      act,
      `${at}.down_proj`,
      expert,
      width === undefined ? undefined : this.config.hidden_size,
    );
  }

  private experts(x: Rows, layer: number): Rows {
    const { config } = this;
    const at = `model.layers.${layer}.moe`;
    const bias = this.tensor(`${at}.router_bias`);
    return x.map((row) => {
      const scores = this.linear([row], `${at}.gate`)[0].map(sigmoid);
      const order = scores.map((_, e) => e).sort((a, b) => scores[b] + bias[b] - scores[a] - bias[a]);
      const chosen = order.slice(0, config.moe_top_k);
      const total = config.norm_expert_weight ? chosen.reduce((sum, e) => sum + scores[e], 1e-20) : 1;
      const results = chosen.map(
        (e) => this.ffn([row], at, config.swiglu_limits[layer], e, config.moe_intermediate_size)[0],
      );
      return row.map((_, i) =>
        chosen.reduce(
          (sum, e, c) => sum + ((config.moe_router_scaling_factor * scores[e]) / total) * results[c][i],
          0,
        ),
      );
    });
  }
}

/** NEOX halves of the first `2 * frequencies.length` elements. */
function rotate(head: number[], position: number, frequencies: readonly number[]): number[] {
  const half = frequencies.length;
  const out = [...head];
  frequencies.forEach((frequency, i) => {
    const [cos, sin] = [Math.cos(position * frequency), Math.sin(position * frequency)];
    out[i] = head[i] * cos - head[i + half] * sin;
    out[i + half] = head[i + half] * cos + head[i] * sin;
  });
  return out;
}

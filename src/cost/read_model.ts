/** Any Hugging Face `config.json` of a known family as a model to be costed. */
import { Fields } from '../config/fields.ts';
import { type CostModel, type Layers, layerCount } from './models.ts';
import {
  type AttentionOf,
  factorizedAttention,
  fullAttention,
  gemmaAttention,
  latentAttention,
  llama4Attention,
  minimaxAttention,
  mistralAttention,
  qwenAttention,
  slidingAttention,
  step35Attention,
} from './read_attention.ts';
import {
  deepseekExperts,
  denseFfn,
  ernieExperts,
  type FfnOf,
  llama4Experts,
  localExperts,
  panguExperts,
  qwenExperts,
  stepExperts,
} from './read_ffn.ts';
import { count, MAX_LAYERS } from './read_fields.ts';

/** How a family's configuration is read. */
interface Family {
  readonly attention: (text: Fields, layers: number) => AttentionOf;
  readonly ffn: (text: Fields, layers: number) => FfnOf;
  /** `tie_word_embeddings` where the file does not say, as in the family's class; untied unless given. */
  readonly tied?: boolean;
  /** `vocab_size` where the file does not say. */
  readonly vocab?: number;
}

const GEMMA_2 = { num_attention_heads: 8, num_key_value_heads: 4, head_dim: 256 };

const LATENT: Family = { attention: latentAttention, ffn: deepseekExperts };
const MINIMAX: Family = { attention: minimaxAttention, ffn: localExperts };
const PANGU: Family = { attention: fullAttention, ffn: panguExperts };
const LLAMA_4: Family = { attention: llama4Attention, ffn: llama4Experts };
const GEMMA_3: Family = {
  attention: (text, layers) =>
    gemmaAttention(text, layers, text.integer('sliding_window_pattern', 1, MAX_LAYERS, 6), GEMMA_2),
  ffn: denseFfn,
  tied: true,
  vocab: 262208,
};
const STEP_3: Family = { attention: factorizedAttention, ffn: stepExperts };

/** Families by `model_type`. */
const FAMILIES: Readonly<Record<string, Family>> = {
  step3_text: STEP_3,
  step3_vl: STEP_3,
  step3p5: { attention: step35Attention, ffn: stepExperts },
  deepseek_v2: LATENT,
  deepseek_v3: LATENT,
  kimi_k2: LATENT,
  llama: { attention: fullAttention, ffn: denseFfn },
  mistral: { attention: mistralAttention, ffn: denseFfn },
  mixtral: { attention: mistralAttention, ffn: localExperts },
  qwen2: { attention: qwenAttention, ffn: denseFfn },
  qwen2_moe: { attention: qwenAttention, ffn: qwenExperts },
  qwen3: { attention: qwenAttention, ffn: denseFfn },
  qwen3_moe: { attention: qwenAttention, ffn: qwenExperts },
  llama4: LLAMA_4,
  llama4_text: LLAMA_4,
  gemma2: {
    attention: (text, layers) => gemmaAttention(text, layers, 2, GEMMA_2),
    ffn: denseFfn,
    tied: true,
  },
  gemma3: GEMMA_3,
  gemma3_text: GEMMA_3,
  glm4_moe: { attention: fullAttention, ffn: deepseekExperts },
  gpt_oss: {
    attention: (text, layers) => slidingAttention(text, layers, (layer) => layer % 2 === 0),
    ffn: localExperts,
  },
  minimax: MINIMAX,
  minimax_text_01: MINIMAX,
  minimax_m1: MINIMAX,
  ernie4_5: { attention: fullAttention, ffn: denseFfn, tied: true },
  ernie4_5_moe: { attention: fullAttention, ffn: ernieExperts, tied: true },
  PanguProMoE: PANGU,
  PanGuMoE: PANGU,
};

/**
 * Reads a parsed `config.json`, also one that nests its language model in `text_config`.
 *
 * Layers for multi-token prediction and vision towers are not counted. Stored elements have the sizes of §4.1 of the
 * Step-3 report: 8 bits, BF16 in the full layers of hybrids (Llama 4, MiniMax), FP32 for lightning states.
 *
 * @param json what JSON.parse returned
 * @param name what reports call the model
 * @param file name for error messages
 * @throws ConfigError naming the field; an unknown `model_type` with the known ones
 */
export function readCostModel(json: unknown, name: string, file?: string): CostModel {
  const document = new Fields(json, file);
  const nested = document.has('text_config');
  const text = nested ? document.object('text_config') : document;
  const family = familyOf(document, text);
  const layers = text.integer('num_hidden_layers', 1, MAX_LAYERS);
  const attention = family.attention(text, layers);
  const ffn = family.ffn(text, layers);
  const tie = text.has('tie_word_embeddings') ? text : document;
  const model: CostModel = {
    name,
    hidden_size: count(text, 'hidden_size'),
    vocab_size: count(text, 'vocab_size', family.vocab),
    ...(tie.boolean('tie_word_embeddings', family.tied === true) ? { tied_embeddings: true } : {}),
    attention: alike(layers, attention),
    ffn: alike(layers, ffn),
  };
  layerCount(model);
  return model;
}

/** The family of the language model: its own `model_type`, or that of the document around it. */
function familyOf(document: Fields, text: Fields): Family {
  const inner = text.get('model_type');
  const holder = typeof inner === 'string' && Object.hasOwn(FAMILIES, inner) ? text : document;
  const type = holder.get('model_type');
  if (typeof type !== 'string' || !Object.hasOwn(FAMILIES, type)) {
    const fields = text.has('model_type') ? text : document;
    return fields.fail('model_type', `a known family (${Object.keys(FAMILIES).join(', ')})`);
  }
  return FAMILIES[type];
}

/** Alike layers counted together, in the order of their first. */
function alike<T>(layers: number, of: (layer: number) => T): Layers<T>[] {
  const groups = new Map<string, { count: number; each: T }>();
  for (let layer = 0; layer < layers; layer++) {
    const each = of(layer);
    const key = JSON.stringify(each);
    const group = groups.get(key) ?? { count: 0, each };
    group.count++;
    groups.set(key, group);
  }
  return [...groups.values()];
}

/** What one decoded token costs in bytes and FLOPs. */
import { InputError } from '../errors.ts';
import { type Convention, coreFlops, kvBytes, projectionParameters } from './attention.ts';
import { activeFfnParameters, ffnParameters, routerParameters } from './ffn.ts';
import { type CostModel, layerCount, sum } from './models.ts';

/** Per decoded token, all layers together (Tables 2 and 3). */
export interface TokenCost {
  /** Bytes of keys and values, or of state. */
  readonly kv_bytes: number;
  readonly attention_flops: number;
  /** Projections before and after the attention core. */
  readonly linear_flops: number;
  /** Activated weights only; router, embedding and output head are not counted. */
  readonly ffn_flops: number;
  /** Attention FLOPs per byte of keys and values (§5.1). */
  readonly arithmetic_intensity: number;
}

/** Weights of the matrices, without norms. */
export interface Parameters {
  readonly attention: number;
  /** Experts, shared experts, dense layers and routers. */
  readonly ffn: number;
  /** Embedding and output head; counted once where they are the same table. */
  readonly vocabulary: number;
  readonly total: number;
  /** Read for one token: the output head, but of the embedding only a row, which is not counted. */
  readonly active: number;
}

/**
 * Cost of one token decoded after `context` tokens.
 *
 * @throws InputError when the context is not a positive integer or the model's layers do not add up
 */
export function tokenCost(model: CostModel, context: number, convention: Convention = 'paper'): TokenCost {
  if (!Number.isSafeInteger(context) || context < 1) {
    throw new InputError('context', 'a positive integer', context);
  }
  layerCount(model);
  const kv_bytes = sum(model.attention, (attention) => kvBytes(attention, context));
  const attention_flops = sum(model.attention, (attention) => coreFlops(attention, context, convention));
  return {
    kv_bytes,
    attention_flops,
    linear_flops: 2 * sum(model.attention, (each) => projectionParameters(each, model.hidden_size)),
    ffn_flops: 2 * sum(model.ffn, (each) => activeFfnParameters(each, model.hidden_size)),
    arithmetic_intensity: attention_flops / kv_bytes,
  };
}

/** Parameters, in total and read per token. */
export function parameters(model: CostModel): Parameters {
  layerCount(model);
  const { hidden_size: hidden } = model;
  const table = model.vocab_size * hidden;
  const attention = sum(model.attention, (each) => projectionParameters(each, hidden));
  const routers = sum(model.ffn, (each) => routerParameters(each, hidden));
  const ffn = routers + sum(model.ffn, (each) => ffnParameters(each, hidden));
  const active = attention + routers + sum(model.ffn, (each) => activeFfnParameters(each, hidden)) + table;
  const vocabulary = model.tied_embeddings === true ? table : 2 * table;
  return { attention, ffn, vocabulary, total: attention + ffn + vocabulary, active };
}

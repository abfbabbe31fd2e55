/** Roofline of one attention layer as the report measures it (Table 9). */
import { coreFlops, kvBytes, projectionParameters } from './attention.ts';
import { bf16Flops, type Hardware, productOps } from './hardware.ts';
import { type Attention, type CostModel, withKvBytes } from './models.ts';

/**
 * Seconds of one attention layer on `cards` cards with `batch` requests in all: keys, values and their products in
 * BF16, projections in 8 bits. Requests (or, with grouped queries, heads) are divided evenly; a layer is the first one.
 * Grouped queries divide their projections too, the others repeat them on every card. Query heads that share a key head
 * are the rows of one matrix product; hardware that multiplies more rows at once than there are ({@link
 * Hardware.matrix_rows}) computes the missing ones too.
 */
export function attentionLayerSeconds(
  model: CostModel,
  card: Hardware,
  context: number,
  batch: number,
  cards: number,
): number {
  const { each } = withKvBytes(model, 2).attention[0];
  const requests = batch / cards;
  const core = Math.max(
    (requests * kvBytes(each, context)) / card.bytes_per_second,
    (requests * coreFlops(each, context) * padding(each, card.matrix_rows ?? 1)) / bf16Flops(card),
  );
  const weights = projectionParameters(each, model.hidden_size);
  const read = each.kind === 'gqa' ? weights / cards : weights;
  const linear = Math.max(read / card.bytes_per_second, (2 * requests * weights) / productOps(card));
  return core + linear;
}

/** Rows computed for each row of queries that there is. */
function padding(attention: Attention, rows: number): number {
  const { num_attention_heads: heads } = attention;
  const sharing = attention.kind === 'gqa' ? heads / attention.num_key_value_heads : heads;
  return (Math.ceil(sharing / rows) * rows) / sharing;
}

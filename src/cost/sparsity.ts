/** Batches that make the FFN compute-bound, and the least sparsity that the network can feed (§5.3, §5.4, Table 7). */
import { InputError } from '../errors.ts';
import { sparsity } from './ffn.ts';
import { type Hardware, peakFlops, roofline, serverNetwork } from './hardware.ts';
import { type CostModel, layerCount } from './models.ts';

/** Micro-batches in flight, and so pipeline stages that share the time of a token: attention, network, FFN (§3). */
export const STAGES = 3;

/** Bytes that one token sends over the network per element of the hidden state: 8 bits to the FFN, 16 back (§5.4). */
const WIRE_BYTES = 3;

/** Tokens per batch that make a dense FFN compute-bound, `weightBytes` per weight: 2·B ≥ FLOPs/bandwidth for 8 bits. */
export function denseBatch(card: Hardware, weightBytes = 1): number {
  return (roofline(card) * weightBytes) / 2;
}

/** The same for an FFN of which a token activates the given share. */
export function moeBatch(card: Hardware, share: number, weightBytes = 1): number {
  return denseBatch(card, weightBytes) / share;
}

/** Activated over all experts of the model's MoE layers, shared ones included; 1 for a dense model. */
export function modelSparsity(model: CostModel): number {
  return Math.min(...model.ffn.map(({ each }) => sparsity(each)));
}

/** Bytes that one token sends and receives per layer: 3·H. */
export function wireBytes(model: CostModel): number {
  return WIRE_BYTES * model.hidden_size;
}

/** Seconds that one stage has in one layer when a token may take `tpot` seconds. */
export function stageSeconds(model: CostModel, tpot: number): number {
  if (!(tpot > 0 && Number.isFinite(tpot))) throw new InputError('TPOT', 'seconds above 0', tpot);
  return tpot / STAGES / layerCount(model);
}

/**
 * Least sparsity at which the batch that the network carries still makes the FFN compute-bound, 8-bit weights
 * (Table 7): S ≥ H·FLOPs·L/(Net·Bandwidth·2/9·TPOT). With a TPOT of 50 ms the last factor is the paper's 11.1 ms.
 *
 * @param network bytes per second of a server; the card's own unless given
 */
export function minimumSparsity(
  model: CostModel,
  card: Hardware,
  tpot: number,
  network: number = serverNetwork(card),
): number {
  const carried = (network * stageSeconds(model, tpot)) / wireBytes(model);
  return peakFlops(card) / (2 * card.bytes_per_second) / carried;
}

/** The tables of the Step-3 report, computed, beside what it prints. */
import { tokensPerGpuSecond } from './afd.ts';
import { HARDWARE, type Hardware, PAPER_HARDWARE } from './hardware.ts';
import { attentionLayerSeconds } from './layer_time.ts';
import { COST_MODELS } from './models.ts';
import { attentionPrice, bestPairing, ffnPrice, unitCosts } from './price.ts';
import { HEADLINES, TABLE_2_3, TABLE_5, TABLE_6, TABLE_7, TABLE_8, TABLE_9 } from './printed.ts';
import { minimumSparsity } from './sparsity.ts';
import { tokenCost } from './token.ts';

/** One value of a table. */
export interface Cell {
  /** Row: a model, or hardware. */
  readonly row: string;
  readonly column: string;
  readonly computed: number;
  readonly printed: number;
}

/** One table. */
export interface PaperTable {
  readonly title: string;
  readonly unit: string;
  readonly cells: readonly Cell[];
}

/** The contexts of the report: 8K and 32K tokens. */
const [K8, K32] = [8192, 32768];

/** Seconds per token that the report aims at. */
const TPOT = 0.05;

/** Requests and cards of Table 9. */
const [TABLE_9_BATCH, TABLE_9_CARDS] = [256, 4];

/** All tables that the model computes. */
export function paperTables(): PaperTable[] {
  return [table23(), table5(), table6(), headlines(), table7(), table8(), table9()];
}

function table23(): PaperTable {
  const cells = Object.entries(TABLE_2_3).flatMap(([id, printed]) => {
    const [short, long] = [K8, K32].map((context) => tokenCost(COST_MODELS[id], context));
    const computed: Readonly<Record<keyof typeof printed, number>> = {
      kv_8k: short.kv_bytes,
      attention_8k: short.attention_flops,
      linear: short.linear_flops,
      ffn: short.ffn_flops,
      kv_32k: long.kv_bytes,
      attention_32k: long.attention_flops,
    };
    return cellsOf(COST_MODELS[id].name, computed, printed);
  });
  return { title: 'Tables 2 and 3: per decoded token', unit: 'bytes, FLOPs', cells };
}

function table5(): PaperTable {
  const cells = Object.entries(TABLE_5).flatMap(([id, printed]) => {
    const { per_flop, per_byte } = unitCosts(HARDWARE[id]);
    return cellsOf(HARDWARE[id].name, { per_flop, per_byte }, printed);
  });
  return { title: 'Table 5: unit costs', unit: 'dollars', cells };
}

function table6(): PaperTable {
  const cells = Object.entries(TABLE_6).flatMap(([id, printed]) => {
    const [short, long] = [K8, K32].map((context) => tokenCost(COST_MODELS[id], context));
    const parts: [keyof typeof printed, (card: Hardware) => number][] = [
      ['attention_8k', (card) => attentionPrice(short, card)],
      ['attention_32k', (card) => attentionPrice(long, card)],
      ['ffn', (card) => ffnPrice(short, card)],
    ];
    return parts.flatMap(([part, price]) =>
      PAPER_HARDWARE.map((card, i) => ({
        row: COST_MODELS[id].name,
        column: `${part} ${card.name}`,
        computed: price(card),
        printed: printed[part][i],
      })),
    );
  });
  return { title: 'Table 6: prices', unit: 'dollars per million tokens', cells };
}

function headlines(): PaperTable {
  const cells = Object.entries(HEADLINES).flatMap(([id, printed]) => {
    const [at_8k, at_32k] = [K8, K32].map(
      (context) => bestPairing(tokenCost(COST_MODELS[id], context), PAPER_HARDWARE).total,
    );
    return cellsOf(COST_MODELS[id].name, { at_8k, at_32k }, printed);
  });
  return { title: 'Totals on the best pairing', unit: 'dollars per million tokens', cells };
}

function table7(): PaperTable {
  const cells = Object.entries(TABLE_7).map(([id, printed]) => ({
    row: HARDWARE[id].name,
    column: 'minimum sparsity',
    computed: minimumSparsity(COST_MODELS.step3, HARDWARE[id], TPOT),
    printed,
  }));
  return { title: 'Table 7: least sparsity, hidden size 7168, 61 layers', unit: 'share', cells };
}

/** Micro-batch and instances of the systems of Table 8 and §7.3. */
const SYSTEMS = {
  '3A2F': { micro_batch: 2016, instances: 5 },
  '2A2F': { micro_batch: 2048, instances: 4 },
  '4A2F': { micro_batch: 2048, instances: 6 },
  '16A2F': { micro_batch: 2048, instances: 18 },
  '3A4F': { micro_batch: 3072, instances: 7 },
} as const satisfies Readonly<Record<keyof typeof TABLE_8, object>>;

/** At exactly the aimed time per token; the measured systems were a little faster. */
function table8(): PaperTable {
  const cells = Object.entries(SYSTEMS).map(([row, { micro_batch, instances }]) => ({
    row,
    column: `3 × ${micro_batch} tokens`,
    computed: tokensPerGpuSecond(micro_batch, instances, TPOT),
    printed: TABLE_8[row as keyof typeof TABLE_8],
  }));
  return {
    title: 'Table 8 and §7.3: throughput at 50 ms per token',
    unit: 'tokens per card and second',
    cells,
  };
}

function table9(): PaperTable {
  const cells = Object.entries(TABLE_9).flatMap(([model, byHardware]) =>
    Object.entries(byHardware).flatMap(([card, printed]) => {
      const [at_8k, at_32k] = [K8, K32].map(
        (context) =>
          1e6 *
          attentionLayerSeconds(COST_MODELS[model], HARDWARE[card], context, TABLE_9_BATCH, TABLE_9_CARDS),
      );
      return cellsOf(`${COST_MODELS[model].name} ${HARDWARE[card].name}`, { at_8k, at_32k }, printed);
    }),
  );
  return { title: 'Table 9: attention layer, roofline beside the measurement', unit: 'µs', cells };
}

/** A cell for each printed column. */
function cellsOf<K extends string>(
  row: string,
  computed: Readonly<Record<K, number>>,
  printed: Readonly<Record<K, number>>,
): Cell[] {
  const columns = Object.keys(printed) as K[];
  return columns.map((column) => ({ row, column, computed: computed[column], printed: printed[column] }));
}

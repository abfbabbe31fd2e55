/** The tables of the Step-3 report, computed, beside what it prints. */
import { type Deployment, deploymentTpot, stageTimes, tokensPerGpuSecond } from './afd.ts';
import { HARDWARE, PAPER_HARDWARE } from './cards.ts';
import type { Hardware } from './hardware.ts';
import { attentionLayerSeconds } from './layer_time.ts';
import { withKvBytes } from './models.ts';
import { COST_MODELS } from './presets.ts';
import { attentionPrice, bestPairing, ffnPrice, unitCosts } from './price.ts';
import { HEADLINES, TABLE_2_3, TABLE_5, TABLE_6, TABLE_7, TABLE_8, TABLE_9 } from './printed.ts';
import { minimumSparsity, stageSeconds, wireBytes } from './sparsity.ts';
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
  /** What a reader must know to compare. */
  readonly note?: string;
}

/** The contexts of the report: 8K and 32K tokens. */
const [K8, K32] = [8192, 32768];

/** Seconds per token that the report aims at. */
const TPOT = 0.05;

/** Requests and cards of Table 9. */
const [TABLE_9_BATCH, TABLE_9_CARDS] = [256, 4];

/** All tables that the model computes. */
export function paperTables(): PaperTable[] {
  return [table23(), table5(), table6(), headlines(), table7(), table8(), table8Times(), network(), table9()];
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

/** Two bytes per stored element in the system with BF16 attention. */
interface System extends Deployment {
  readonly kv_bytes: 1 | 2;
}

function system(
  attention_instances: number,
  ffn_instances: number,
  micro_batch: number,
  context: number,
  kv_bytes: 1 | 2 = 1,
): System {
  return { attention_instances, ffn_instances, micro_batch, context, kv_bytes };
}

/** The systems of Table 8 and §7.3. */
const SYSTEMS: Readonly<Record<keyof typeof TABLE_8, System>> = {
  '3A2F': system(3, 2, 2016, 4096, 2),
  '2A2F': system(2, 2, 2048, 4096),
  '4A2F': system(4, 2, 2048, 8192),
  '16A2F': system(16, 2, 2048, K32),
  '3A4F': system(3, 4, 3072, 4096),
};

/** Those of Table 8; the others are extrapolations of the report. */
const MEASURED = ['3A2F', '2A2F', '4A2F'] as const;

function instances({ attention_instances, ffn_instances }: System): number {
  return attention_instances + ffn_instances;
}

/** At exactly the aimed time per token; the measured systems were a little faster. */
function table8(): PaperTable {
  const cells = Object.entries(SYSTEMS).map(([row, system]) => ({
    row,
    column: `3 × ${system.micro_batch} tokens`,
    computed: tokensPerGpuSecond(system.micro_batch, instances(system), TPOT),
    printed: TABLE_8[row as keyof typeof TABLE_8],
  }));
  return {
    title: 'Table 8 and §7.3: throughput at 50 ms per token',
    unit: 'tokens per card and second',
    cells,
  };
}

/** What the deployments would take at full peaks, beside what their throughput implies: batch / (throughput · cards). */
function table8Times(): PaperTable {
  const cells = MEASURED.map((row) => {
    const system = SYSTEMS[row];
    const model = withKvBytes(COST_MODELS.step3, system.kv_bytes);
    const times = stageTimes(model, HARDWARE.h800, HARDWARE.h800, system);
    return {
      row,
      column: `context ${system.context}`,
      computed: 1000 * deploymentTpot(model, times),
      printed: (1000 * tokensPerGpuSecond(system.micro_batch, instances(system), 1)) / TABLE_8[row],
    };
  });
  return {
    title: 'Table 8: time per token, roofline on H800 beside what the throughput implies',
    unit: 'ms',
    cells,
    note: 'The report names "latest Hopper GPUs" only. The roofline has no efficiencies and is a lower bound.',
  };
}

/** Bytes per second that DeepEP reaches on each of a server's eight ports (§5.4). */
const DEEPEP_NETWORK = 8 * 40e9;

/** §7.3 says that the network carries micro-batches of 3072 with four FFN instances, but not how that comes about. */
function network(): PaperTable {
  const { attention_instances, ffn_instances, micro_batch } = SYSTEMS['3A4F'];
  const share = (DEEPEP_NETWORK * stageSeconds(COST_MODELS.step3, TPOT)) / wireBytes(COST_MODELS.step3);
  return {
    title: '§7.3: micro-batch that the network of 3A4F carries',
    unit: 'tokens',
    cells: [
      {
        row: '3A4F',
        column: '40 GB/s per port',
        computed: attention_instances * Math.floor(share / ffn_instances),
        printed: micro_batch,
      },
    ],
    note: 'Our reading: every attention instance exchanges its share with all four FFN instances.',
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
  return {
    title: 'Table 9: attention layer, roofline beside the measurement',
    unit: 'µs',
    cells,
    note: 'Query heads that share a key head count as 64 rows at least on Hopper, the fewest that it multiplies.',
  };
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

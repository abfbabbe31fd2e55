/** What `step3 cost` prints for people. */
import type { AfdReport, CardReport, CostReport } from '../cost/report.ts';
import type { Cell, PaperTable } from '../cost/tables.ts';
import { formatBytes, formatCount, table } from './figures.ts';

const CONVENTIONS = {
  paper: 'as the Step-3 report counts (--exact: first principles)',
  exact: 'as first principles count (absorbed MLA 2·(576 + 512), lightning 5 per state element)',
} as const;

/** A report. */
export function reportText(report: CostReport): string {
  const { token, parameters, afd } = report;
  const parts = [
    table([
      ['model', report.model],
      ['parameters', `${formatCount(parameters.total)}, ${formatCount(parameters.active)} active per token`],
      ['context', `${report.context} tokens`],
      ['counted', CONVENTIONS[report.convention]],
      ['keys, values', `${power(token.kv_bytes)} bytes moved per token`],
      ['attention', `${power(token.attention_flops)} FLOPs, ${figure(token.arithmetic_intensity)} per byte`],
      ['linear', `${power(token.linear_flops)} FLOPs`],
      [
        'FFN',
        `${power(token.ffn_flops)} FLOPs${report.sparsity < 1 ? `, ${figure(report.sparsity)} of the experts` : ''}`,
      ],
      [
        'memory',
        `${formatBytes(report.weight_bytes)} of weights, ${formatBytes(report.stored_bytes)} per request`,
      ],
      ['network', `${power(report.wire_bytes)} bytes per token between attention and FFN`],
    ]),
    '\n',
    columns([
      ['hardware', 'attention', 'FFN', 'total $/M tokens', 'core bound', 'FFN batch', 'least sparsity'],
      ...report.cards.map(cardRow),
    ]),
    `\nFFN batch: tokens that make the FFN compute-bound; a batch of ${report.batch} reaches ${report.cards
      .map((card) => `${figure(100 * card.ffn_peak_share)} % on ${card.hardware}`)
      .join(', ')}.\n\n`,
    columns([
      ['hardware', '$ per FLOP', '$ per byte', 'cards for weights', 'requests per card', 'source'],
      ...report.cards.map(figuresRow),
    ]),
  ];
  if (afd !== undefined) parts.push('\n', table(afdRows(afd)));
  return parts.join('');
}

function cardRow(card: CardReport): string[] {
  const { dollars } = card;
  return [
    card.hardware,
    dollars?.attention.toFixed(4) ?? '-',
    dollars?.ffn.toFixed(4) ?? '-',
    dollars?.total.toFixed(4) ?? `no price; ${figure(card.attention_seconds + card.ffn_seconds)} card s`,
    card.core_bound,
    card.moe_batch.toFixed(0),
    card.minimum_sparsity?.toFixed(4) ?? '-',
  ];
}

function figuresRow(card: CardReport): string[] {
  return [
    card.hardware,
    card.unit_costs?.per_flop.toExponential(3) ?? '-',
    card.unit_costs?.per_byte.toExponential(3) ?? '-',
    card.cards_for_weights?.toString() ?? '-',
    card.requests_per_card?.toString() ?? '-',
    card.source,
  ];
}

function afdRows({ attention, ffn, dollars, sizing, unsized }: AfdReport): [string, string][] {
  const best: [string, string] = [
    'best pairing',
    `attention on ${attention} $${dollars.attention.toFixed(4)}, FFN on ${ffn} $${dollars.ffn.toFixed(4)}, total $${dollars.total.toFixed(4)} per million tokens`,
  ];
  if (sizing === undefined) return [best, ['sizing', `not without ${unsized?.join(', ')}`]];
  return [
    best,
    ['stage', `${figure(1e6 * sizing.stage_seconds)} µs per layer`],
    [
      'batches',
      `${sizing.attention_batch} requests per attention card (limit: ${sizing.attention_bound}), ${sizing.ffn_batch} tokens per FFN (limit: ${sizing.ffn_bound})`,
    ],
    ['instances', `${sizing.attention_instances} attention, ${sizing.ffn_instances} FFN, 8 cards each`],
    [
      'card memory',
      `${formatBytes(sizing.attention_card_bytes)} attention, ${formatBytes(sizing.ffn_card_bytes)} FFN`,
    ],
    ['network', `${power(sizing.wire_bytes_per_token)} bytes per token`],
    ['throughput', `${sizing.tokens_per_gpu_second.toFixed(0)} tokens/s per card`],
  ];
}

/** A table of the report beside what it prints. */
export function paperTableText({ title, unit, cells, note }: PaperTable): string {
  const head = ['', '', 'computed', 'printed', 'difference', '%'];
  return `${title} (${unit})\n${columns([head, ...cells.map(cellRow)])}${note === undefined ? '' : `${note}\n`}`;
}

function cellRow({ row, column, computed, printed }: Cell): string[] {
  const difference = computed - printed;
  return [
    row,
    column,
    figure(computed),
    figure(printed),
    difference.toPrecision(2),
    ((100 * difference) / printed).toFixed(2),
  ];
}

/** Lines of aligned columns; the first line is the heading. */
function columns(rows: readonly (readonly string[])[]): string {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)));
  return rows
    .map(
      (row) =>
        `${row
          .map((cell, i) => cell.padEnd(widths[i]))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('');
}

/** Four digits, with a power of ten where the value is far from 1. */
function figure(value: number): string {
  return value >= 1e5 || value < 1e-4 ? power(value) : Number(value.toPrecision(4)).toString();
}

function power(value: number): string {
  return value.toExponential(3);
}

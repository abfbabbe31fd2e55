/** `step3 cost`: what a decoded token costs, by the analytical model of the Step-3 report. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { Command, Option } from 'commander';
import { parseConfig } from '../config/index.ts';
import { HARDWARE, hardware, PAPER_HARDWARE } from '../cost/hardware.ts';
import { COST_MODELS, type CostModel, configCostModel, costModel } from '../cost/models.ts';
import { type CardReport, type CostReport, costReport } from '../cost/report.ts';
import { type Cell, type PaperTable, paperTables } from '../cost/tables.ts';
import { ConfigError } from '../errors.ts';
import { formatCount, table } from './figures.ts';
import { type CommonFlags, commonOptions, integer, number } from './options.ts';

interface CostFlags extends CommonFlags {
  readonly model: string;
  readonly hardware?: string;
  readonly context: number;
  readonly batch: number;
  readonly afd?: true;
  readonly tpot: number;
  readonly kvBits?: number;
  readonly weightBits: '8' | '16';
  readonly exact?: true;
  readonly paper?: true;
}

/** The command's definition. */
export function costCommand(): Command {
  const command = new Command('cost')
    .description('What a decoded token costs at full peaks: bytes, FLOPs, dollars; after the Step-3 report.')
    .option('--model <preset|file>', `a config.json, or ${Object.keys(COST_MODELS).join(', ')}`, 'step3')
    .option(
      '--hardware <names>',
      `separated by commas: ${Object.keys(HARDWARE).join(', ')} (default: those of the report)`,
    )
    .option('--context <n>', 'tokens before the decoded one', integer(1), 8192)
    .option('--batch <n>', 'tokens of an FFN batch', integer(1), 2048)
    .option('--afd', 'attention and FFN each on the cheapest of the hardware, and how much of it')
    .option('--tpot <ms>', 'time per output token', number, 50)
    .option('--kv-bits <n>', "bits of a stored key or value element (default: the model's own)", integer(1))
    .addOption(new Option('--weight-bits <n>', 'bits of a weight').choices(['8', '16']).default('8'))
    .option('--exact', 'count FLOPs as first principles do where the report differs')
    .option('--paper', "the report's tables beside the printed values, and nothing else");
  return commonOptions(command)
    .addHelpText(
      'after',
      '\nExamples:\n  step3 cost --context 32768 --afd\n  step3 cost --model deepseek-v3 --hardware h800,h20\n  step3 cost --paper',
    )
    .action(run);
}

function run(flags: CostFlags): void {
  if (flags.paper === true) {
    const tables = paperTables();
    print(flags, { tables: tables.map(tableJson) }, () => tables.map(tableText).join('\n'));
    return;
  }
  const cards = flags.hardware?.split(',').map(hardware) ?? PAPER_HARDWARE;
  const report = costReport(readModel(flags.model), cards, {
    context: flags.context,
    batch: flags.batch,
    afd: flags.afd === true,
    tpot: flags.tpot / 1000,
    kv_bits: flags.kvBits,
    weight_bits: flags.weightBits === '8' ? 8 : 16,
    convention: flags.exact === true ? 'exact' : 'paper',
  });
  print(flags, report, () => reportText(report));
}

function print(flags: CostFlags, json: object, text: () => string): void {
  process.stdout.write(flags.json === true ? `${JSON.stringify(json)}\n` : text());
}

/** A preset, or a configuration from a file or from the folder that holds it. */
function readModel(model: string): CostModel {
  if (!existsSync(model)) return costModel(model);
  const file = statSync(model).isDirectory() ? join(model, 'config.json') : model;
  return configCostModel(parseConfig(parseJson(readFileSync(file, 'utf8'), file), file), basename(model));
}

function parseJson(text: string, file: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new ConfigError('config', 'JSON', text, file);
  }
}

function reportText(report: CostReport): string {
  const { token, parameters, afd } = report;
  const parts = [
    table([
      ['model', report.model],
      ['parameters', `${formatCount(parameters.total)}, ${formatCount(parameters.active)} active per token`],
      ['context', `${report.context} tokens`],
      ['keys, values', `${power(token.kv_bytes)} bytes per token`],
      ['attention', `${power(token.attention_flops)} FLOPs, ${figure(token.arithmetic_intensity)} per byte`],
      ['linear', `${power(token.linear_flops)} FLOPs`],
      [
        'FFN',
        `${power(token.ffn_flops)} FLOPs${report.sparsity < 1 ? `, ${figure(report.sparsity)} of the experts` : ''}`,
      ],
    ]),
    '\n',
    columns([
      ['hardware', 'attention', 'FFN', 'total $/M tokens', 'core bound', 'FFN batch', 'least sparsity'],
      ...report.cards.map(cardRow),
    ]),
    `\nFFN batch: tokens that make the FFN compute-bound; a batch of ${report.batch} reaches ${report.cards
      .map((card) => `${figure(100 * card.ffn_peak_share)} % on ${card.hardware}`)
      .join(', ')}.\n`,
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

function afdRows(afd: NonNullable<CostReport['afd']>): [string, string][] {
  const { dollars, sizing } = afd;
  const rows: [string, string][] = [
    [
      'best pairing',
      `attention on ${afd.attention} $${dollars.attention.toFixed(4)}, FFN on ${afd.ffn} $${dollars.ffn.toFixed(4)}, total $${dollars.total.toFixed(4)} per million tokens`,
    ],
  ];
  if (sizing === undefined) return rows;
  return [
    ...rows,
    ['stage', `${figure(1e6 * sizing.stage_seconds)} µs per layer`],
    ['batches', `${sizing.attention_batch} requests per attention card, ${sizing.ffn_batch} tokens per FFN`],
    ['instances', `${sizing.attention_instances} attention, ${sizing.ffn_instances} FFN, 8 cards each`],
    ['network', `${power(sizing.wire_bytes_per_token)} bytes per token`],
    ['throughput', `${sizing.tokens_per_gpu_second.toFixed(0)} tokens/s per card`],
  ];
}

function tableJson({ title, unit, cells }: PaperTable): object {
  return { title, unit, cells: cells.map((cell) => ({ ...cell, difference: cell.computed - cell.printed })) };
}

function tableText({ title, unit, cells }: PaperTable): string {
  return `${title} (${unit})\n${columns([
    ['', '', 'computed', 'printed', 'difference', '%'],
    ...cells.map(cellRow),
  ])}`;
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

/** `step3 cost`: what a decoded token costs, by the analytical model of the Step-3 report. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { HARDWARE, PAPER_HARDWARE } from '../cost/cards.ts';
import { costPlots } from '../cost/plots.ts';
import { COST_MODELS } from '../cost/presets.ts';
import { costReport } from '../cost/report.ts';
import { type PaperTable, paperTables } from '../cost/tables.ts';
import { InputError } from '../errors.ts';
import { KV_FORMATS, type KvFormat } from '../kernels/paged.ts';
import { readCards, readModel } from './cost_inputs.ts';
import { paperTableText, reportText } from './cost_text.ts';
import { type CommonFlags, commonOptions, integer, number } from './options.ts';
import { renderSvg } from './svg.ts';

interface CostFlags extends CommonFlags {
  readonly model: string;
  readonly hardware?: string;
  readonly context: number;
  readonly batch?: number;
  readonly afd?: true;
  readonly tpot: number;
  readonly kvBits?: number;
  readonly kv?: KvFormat;
  readonly weightBits: '4' | '8' | '16';
  readonly exact?: true;
  readonly paper?: true;
  readonly plots?: string;
}

/** The command's definition. */
export function costCommand(): Command {
  const command = new Command('cost')
    .description('What a decoded token costs at full peaks: bytes, FLOPs, dollars; after the Step-3 report.')
    .option(
      '--model <preset|file>',
      `a config.json of a known family, or ${Object.keys(COST_MODELS).join(', ')}`,
      'step3',
    )
    .option(
      '--hardware <names|file>',
      `separated by commas: JSON files, ${Object.keys(HARDWARE).join(', ')} (default: those of the report)`,
    )
    .option('--context <n>', 'tokens before the decoded one', integer(1), 8192)
    .option('--batch <n>', 'tokens of an FFN batch (default: 2048; for sizing, as many as fit)', integer(1))
    .option('--afd', 'attention and FFN each on the cheapest of the hardware, and how much of it')
    .option('--tpot <ms>', 'time per output token', number, 50)
    .option(
      '--kv-bits <n>',
      "bits of a stored key or value element (default: the report's choice)",
      integer(1),
    )
    .addOption(
      new Option(
        '--kv <format>',
        "or keys and values as this engine's cache stores them; fp8 with its scales",
      ).choices(KV_FORMATS),
    )
    .addOption(new Option('--weight-bits <n>', 'bits of a weight').choices(['4', '8', '16']).default('8'))
    .option('--exact', 'count FLOPs as first principles do where the report differs')
    .option('--paper', "the report's tables beside the printed values, and nothing else")
    .option(
      '--plots <folder>',
      "the report's figures and a roofline as SVG files, with the model if it is a file; nothing else",
    );
  return commonOptions(command)
    .addHelpText(
      'after',
      '\nExample:\n  step3 cost --context 32768 --afd\n  step3 cost --model DIR/config.json --hardware h800,mine.json\n  step3 cost --paper',
    )
    .action(run);
}

async function run(flags: CostFlags): Promise<void> {
  if (flags.plots !== undefined) {
    const files = await writePlots(flags.plots, flags.model);
    print(flags, { files }, () => files.map((file) => `${file}\n`).join(''));
    return;
  }
  if (flags.paper === true) {
    const tables = paperTables();
    print(flags, { tables: tables.map(tableJson) }, () => tables.map(paperTableText).join('\n'));
    return;
  }
  const cards = flags.hardware === undefined ? PAPER_HARDWARE : readCards(flags.hardware);
  const report = costReport(readModel(flags.model), cards, {
    context: flags.context,
    batch: flags.batch,
    afd: flags.afd === true,
    tpot: flags.tpot / 1000,
    kv_bits: flags.kvBits,
    kv: flags.kv,
    weight_bits: ({ 4: 4, 8: 8, 16: 16 } as const)[flags.weightBits],
    convention: flags.exact === true ? 'exact' : 'paper',
  });
  print(flags, report, () => reportText(report));
}

function print(flags: CostFlags, json: object, text: () => string): void {
  process.stdout.write(flags.json === true ? `${JSON.stringify(json)}\n` : text());
}

/** Draws every figure, a model from a file with the presets, into a folder, made if need be; returns the files. */
async function writePlots(folder: string, model: string): Promise<string[]> {
  const more = Object.hasOwn(COST_MODELS, model) ? [] : [readModel(model)];
  const plots = costPlots([...Object.values(COST_MODELS), ...more]);
  makeFolder(folder);
  const files: string[] = [];
  for (const { file, title, spec } of plots) {
    const path = join(folder, file);
    writeFileSync(path, await renderSvg(spec, title));
    files.push(path);
  }
  return files;
}

function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    throw new InputError('plots', 'a folder', error instanceof Error ? error.message : error);
  }
}

function tableJson({ cells, ...table }: PaperTable): object {
  return { ...table, cells: cells.map((cell) => ({ ...cell, difference: cell.computed - cell.printed })) };
}

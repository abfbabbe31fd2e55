/** `step3 info`: a checkpoint's card, from its headers alone. */
import { existsSync } from 'node:fs';
import { Command } from 'commander';
import { type AttentionFacts, layerFacts, type ModelConfig, mtpBlocks, PRESETS } from '../config/index.ts';
import { kvRowBytes } from '../kernels/kv_cache.ts';
import { KV_FORMATS, type KvFormat } from '../kernels/paged.ts';
import { openModelSource } from '../runtime/load_model.ts';
import { elements, padRow } from '../tensor.ts';
import type { Checkpoint } from '../weights/checkpoint.ts';
import { syntheticCheckpoint } from '../weights/synthetic.ts';
import { formatBytes, formatCount, table } from './figures.ts';
import { type CommonFlags, commonOptions } from './options.ts';

interface InfoFlags extends CommonFlags {
  readonly model: string;
}

/** Tensors of one kind together. */
interface KindCard {
  /** Formats that its weights are stored in. */
  readonly formats: string[];
  parameters: number;
  bytes: number;
}

/** What `info` prints. */
export interface ModelCard {
  readonly name: string;
  readonly layers: number;
  readonly moe_layers: number;
  readonly experts: number;
  readonly experts_per_token: number;
  readonly context: number;
  readonly vocabulary: number;
  readonly parameters: number;
  /** Parameters that one token reads: the chosen experts of the routed ones; of the embedding one row, not counted. */
  readonly active_parameters: number;
  readonly bytes: number;
  /** Of layers that see whole contexts. */
  readonly kv_bytes_per_token: Readonly<Record<KvFormat, number>>;
  /** Of layers that see a window, when it is full; a running model keeps the tokens of a step beside it. */
  readonly window_bytes: Readonly<Record<KvFormat, number>>;
  /** Positions of the window; 0 where all layers see whole contexts. */
  readonly window: number;
  /** Blocks that draft tokens; their parameters count, but no token reads them. */
  readonly draft_blocks: number;
  readonly kinds: Readonly<Record<string, KindCard>>;
  readonly tokenizer: boolean;
}

/** The command's definition. */
export function infoCommand(): Command {
  const command = new Command('info')
    .description('What a checkpoint holds; reads only its headers.')
    .requiredOption(
      '--model <dir|preset>',
      `checkpoint folder, its address, or ${Object.keys(PRESETS).join(', ')}`,
    );
  return commonOptions(command).addHelpText('after', '\nExample:\n  step3 info --model step3').action(run);
}

async function run(flags: InfoFlags): Promise<void> {
  const card = await readCard(flags.model);
  process.stdout.write(flags.json === true ? `${JSON.stringify(card)}\n` : cardText(card));
}

async function readCard(model: string): Promise<ModelCard> {
  if (Object.hasOwn(PRESETS, model) && !existsSync(model)) {
    return { ...modelCard(syntheticCheckpoint(PRESETS[model], 0), false), name: `preset ${model}` };
  }
  const { checkpoint, tokenizer } = await openModelSource(model);
  try {
    return modelCard(checkpoint, tokenizer !== undefined);
  } finally {
    await checkpoint.close();
  }
}

function modelCard(checkpoint: Checkpoint, tokenizer: boolean): ModelCard {
  const { config } = checkpoint;
  const kinds: Record<string, KindCard> = {};
  let parameters = 0;
  let active = 0;
  for (const weight of checkpoint.weights.values()) {
    const count = elements(weight.shape);
    const kind = kindOf(weight.name, config.num_hidden_layers);
    kinds[kind] ??= { formats: [], parameters: 0, bytes: 0 };
    if (!kinds[kind].formats.includes(weight.format)) kinds[kind].formats.push(weight.format);
    kinds[kind].parameters += count;
    kinds[kind].bytes += weight.bytes;
    parameters += count;
    if (kind === 'drafting blocks') continue;
    if (kind === 'routed experts') active += (count / config.moe_num_experts) * config.moe_top_k;
    else if (kind !== 'embedding') active += count;
  }
  return {
    name: checkpoint.name,
    layers: config.num_hidden_layers,
    moe_layers: config.moe_layers.length,
    experts: config.moe_num_experts,
    experts_per_token: config.moe_top_k,
    context: config.max_seq_len,
    vocabulary: config.vocab_size,
    parameters,
    active_parameters: active,
    bytes: checkpoint.bytes,
    kv_bytes_per_token: byFormat((kv) => kvBytes(config, kv).whole),
    window_bytes: byFormat((kv) => kvBytes(config, kv).windows),
    window: windowOf(config),
    draft_blocks: mtpBlocks(config),
    kinds,
    tokenizer,
  };
}

/** A figure for every format of the cache. */
function byFormat(figure: (kv: KvFormat) => number): Record<KvFormat, number> {
  return Object.fromEntries(KV_FORMATS.map((kv) => [kv, figure(kv)])) as Record<KvFormat, number>;
}

/**
 * Bytes of keys and values, padded as the cache stores them and with their scales: per token in layers that see whole
 * contexts, and in full windows.
 */
function kvBytes(config: ModelConfig, kv: KvFormat): { whole: number; windows: number } {
  let [whole, windows] = [0, 0];
  for (const { kvHeads, headDim, window } of attentions(config)) {
    const position = 2 * kvHeads * kvRowBytes(kv, padRow(headDim));
    if (window === undefined) whole += position;
    else windows += window * position;
  }
  return { whole, windows };
}

function windowOf(config: ModelConfig): number {
  return Math.max(0, ...attentions(config).map(({ window }) => window ?? 0));
}

/** Attention of every layer of the trunk. */
function attentions(config: ModelConfig): AttentionFacts[] {
  return Array.from({ length: config.num_hidden_layers }, (_, layer) => layerFacts(config, layer).attention);
}

function kindOf(tensor: string, layers: number): string {
  if (Number(/^model\.layers\.(\d+)\./.exec(tensor)?.[1] ?? 0) >= layers) return 'drafting blocks';
  if (/norm\.weight$/.test(tensor)) return 'norms';
  if (tensor.startsWith('model.embed_tokens')) return 'embedding';
  if (tensor.startsWith('lm_head')) return 'head';
  if (tensor.includes('.self_attn.')) return 'attention';
  if (tensor.includes('.share_expert.')) return 'shared experts';
  if (/\.moe\.(gate\.|router_bias)/.test(tensor)) return 'routers';
  if (tensor.includes('.moe.')) return 'routed experts';
  return tensor.includes('layernorm') ? 'norms' : 'dense layers';
}

function cardText(card: ModelCard): string {
  const kv = card.kv_bytes_per_token;
  const layers =
    card.moe_layers === 0
      ? 'all dense'
      : `${card.moe_layers} with ${card.experts} experts, ${card.experts_per_token} per token`;
  return [
    table([
      ['model', card.name],
      ['layers', `${card.layers} (${layers})`],
      [
        'parameters',
        `${formatCount(card.parameters)}, ${formatCount(card.active_parameters)} active per token`,
      ],
      ['weights', formatBytes(card.bytes)],
      [
        'cache',
        `${formatBytes(kv.f16)} per token in f16, ${formatBytes(kv.fp8)} in fp8, ${formatBytes(kv.f32)} in f32`,
      ],
      ...(card.window === 0
        ? []
        : [
            [
              'windows',
              `${formatBytes(card.window_bytes.f16)} in f16, ${formatBytes(card.window_bytes.fp8)} in fp8, for ${card.window} tokens in sliding layers`,
            ] as const,
          ]),
      ...(card.draft_blocks === 0 ? [] : [['drafting', `${card.draft_blocks} blocks`] as const]),
      ['context', `${card.context} tokens`],
      ['vocabulary', String(card.vocabulary)],
      ['tokenizer', card.tokenizer ? 'yes' : 'no'],
    ]),
    '\n',
    table(
      Object.entries(card.kinds).map(([kind, k]) => [
        kind,
        `${k.formats.join(', ')}  ${formatCount(k.parameters)} parameters, ${formatBytes(k.bytes)}`,
      ]),
    ),
  ].join('');
}

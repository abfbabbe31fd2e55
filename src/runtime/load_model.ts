/** From a checkpoint to a model that is ready to run. */
import { mtpBlocks } from '../config/index.ts';
import { InputError } from '../errors.ts';
import { KV_FORMATS, type KvFormat } from '../kernels/paged.ts';
import { cacheShape } from '../model/cache.ts';
import type { PlanOptions } from '../model/plans.ts';
import { type Checkpoint, openCheckpoint } from '../weights/checkpoint.ts';
import { checkpointFormats, weightLayout } from '../weights/layout.ts';
import { type FileSource, memorySource, withTexts } from '../weights/source.ts';
import { urlSource } from '../weights/source_url.ts';
import { loadChatTemplate } from './chat/template.ts';
import { CpuExecutor } from './cpu_executor.ts';
import { openDevice } from './device.ts';
import type { Executor } from './executor.ts';
import { GpuExecutor } from './gpu_executor.ts';
import { type LoadProgress, loadWeights } from './load.ts';
import { Model } from './model.ts';
import { promptChunk } from './prefill.ts';
import { type SelfTestStore, selfTest, selfTestPrompts } from './selftest.ts';
import { loadTokenizer, type TextCodec } from './text.ts';

/** Options of {@link loadModel}. */
export interface LoadOptions {
  /** `cpu` runs the interpreter. Default `gpu`. */
  readonly device?: 'gpu' | 'cpu' | undefined;
  /** Part of an adapter's name (Node). */
  readonly adapter?: string | undefined;
  /** Only what every WebGPU adapter has: the base kernels run. */
  readonly baseline?: boolean | undefined;
  /** Use at most this many bytes per buffer binding, as on a smaller adapter. */
  readonly maxBindingBytes?: number | undefined;
  /** Storage of keys and values; `fp8` is e4m3 with a scale per row. Default f16. */
  readonly kv?: KvFormat | undefined;
  /** Most positions of a sequence. Default: the model's own, at most 4096. */
  readonly maxContext?: number | undefined;
  /** Most sequences at a time. Default 1. */
  readonly maxBatch?: number | undefined;
  /** Prompt tokens per prefill step. Default {@link promptChunk}. */
  readonly chunk?: number | undefined;
  /**
   * Multi-token-prediction blocks to load, for generations that draft up to so many tokens at a time. Default 0.
   */
  readonly draft?: number | undefined;
  /** Results do not depend on batch, chunking or pages, bit for bit; slower. */
  readonly deterministic?: boolean | undefined;
  /** Use matrix units where the adapter has them; they round activations to binary16. Default true. */
  readonly matrixUnits?: boolean | undefined;
  /** Leave out the bounds checks of Dawn's shader compiler (Node). A faulty kernel may then read or write anything. */
  readonly unsafeFast?: boolean | undefined;
  readonly onProgress?: LoadProgress | undefined;
  /** Checks every kernel variant before the first use on an adapter. Default true. */
  readonly selfTest?: boolean | undefined;
  /** Where passed self-tests are remembered. */
  readonly selfTestStore?: SelfTestStore | undefined;
}

/**
 * A folder or a GGUF file (Node), an http(s) address of one, an open source, or a checkpoint such as a synthetic one. Of a
 * GGUF file that is split, the first part.
 */
export type ModelSource = string | URL | FileSource | Checkpoint;

/** An open checkpoint with what belongs to it. */
export interface OpenModel {
  readonly checkpoint: Checkpoint;
  readonly tokenizer: TextCodec | undefined;
  /** Where its text files are: tokenizer, chat template. */
  readonly texts: FileSource;
}

/** Reads the checkpoint's header, and its tokenizer when it comes from files. */
export async function openModelSource(source: ModelSource): Promise<OpenModel> {
  if (typeof source === 'object' && 'weights' in source) {
    return { checkpoint: source, tokenizer: undefined, texts: memorySource(source.name, new Map()) };
  }
  const { files, file } = await fileSource(source);
  const checkpoint = await openCheckpoint(files, file);
  try {
    const texts = withTexts(files, checkpoint.texts);
    return { checkpoint, texts, tokenizer: await loadTokenizer(texts, checkpoint.config.vocab_size) };
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

/** The folder of a model, and the GGUF file in it when the source names one. */
async function fileSource(
  source: string | URL | FileSource,
): Promise<{ files: FileSource; file: string | undefined }> {
  if (typeof source === 'object' && 'open' in source) return { files: source, file: undefined };
  const address = typeof source === 'string' ? source : source.href;
  const remote = source instanceof URL || /^https?:\/\//.test(address);
  const inNode = typeof process !== 'undefined' && process.versions?.node !== undefined;
  const name = /([^/\\]+\.gguf)$/.exec(address)?.[1];
  const folder = name === undefined ? address : address.slice(0, -name.length) || '.';
  if (!remote && inNode) {
    const { directorySource } = await import('../weights/source_node.ts');
    return { files: directorySource(folder), file: name };
  }
  const files = urlSource(remote ? folder : new URL(folder, location.href));
  return { files, file: name === undefined ? undefined : unescapeName(name) };
}

/** A file name as it stands in an address; one that is not validly escaped is taken as it is. */
function unescapeName(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

/**
 * Opens a checkpoint, checks it, opens a device, loads the weights and makes the model ready.
 *
 * @throws ConfigError, WeightError for what is wrong with the files; DeviceError when no adapter fits or a kernel fails
 *   its self-test; InputError for impossible options. Nothing stays open or allocated after an error.
 */
export async function loadModel(source: ModelSource, options: LoadOptions = {}): Promise<Model> {
  const { checkpoint, tokenizer, texts } = await openModelSource(source);
  let executor: Executor | undefined;
  try {
    const { config } = checkpoint;
    const maxContext = options.maxContext ?? Math.min(config.max_seq_len, 4096);
    const maxBatch = options.maxBatch ?? 1;
    positive('maxContext', maxContext, config.max_seq_len);
    positive('maxBatch', maxBatch, 4096);
    if (options.chunk !== undefined) positive('chunk', options.chunk, 65535);
    const draft = options.draft ?? 0;
    if (!Number.isInteger(draft) || draft < 0 || draft > mtpBlocks(config)) {
      throw new InputError(
        'draft',
        `an integer in 0..${mtpBlocks(config)} (blocks of the checkpoint)`,
        draft,
      );
    }
    const kv = options.kv ?? 'f16';
    if (!KV_FORMATS.includes(kv)) throw new InputError('kv', `one of ${KV_FORMATS.join(', ')}`, kv);
    executor = await openExecutor(options);
    const deterministic = options.deterministic ?? false;
    const matrixUnits = executor.caps.matrixUnits && options.matrixUnits !== false;
    const chunk =
      options.chunk ?? promptChunk(config, matrixUnits && !deterministic, { maxContext, maxBatch });
    const layout = weightLayout(config, checkpointFormats(checkpoint), executor.caps.maxBindingBytes, draft);
    const planning: PlanOptions = {
      layout,
      cache: cacheShape(config, draft, {
        sequences: maxBatch,
        maxContext: maxContext + draft,
        kv,
        together: Math.max(chunk, draft + 1),
      }),
      caps: { ...executor.caps, matrixUnits },
      deterministic,
    };
    const chatTemplate =
      tokenizer === undefined ? undefined : await loadChatTemplate(texts, config.architecture);
    const model = new Model({ config, tokenizer, chatTemplate, executor, planning, chunk, draft });
    // Pipelines compile while the weights are read.
    const warm = model.decodePlan(1, 1);
    if (executor instanceof GpuExecutor && options.selfTest !== false) {
      const most = Math.max(chunk, maxBatch, draft + 1);
      const others = selfTestPrompts(config, planning, most);
      await selfTest(executor, [(await warm).plan, ...others], options.selfTestStore);
    }
    await Promise.all([loadWeights(executor, checkpoint, layout, options.onProgress), warm]);
    return model;
  } catch (error) {
    executor?.dispose();
    throw error;
  } finally {
    await checkpoint.close();
  }
}

async function openExecutor(options: LoadOptions): Promise<Executor> {
  const device = options.device ?? 'gpu';
  if (device === 'cpu') return new CpuExecutor();
  if (device !== 'gpu') throw new InputError('device', "'gpu' or 'cpu'", device);
  return new GpuExecutor(await openDevice(options));
}

function positive(field: string, value: number, most: number): void {
  if (!Number.isInteger(value) || value < 1 || value > most) {
    throw new InputError(field, `an integer in 1..${most}`, value);
  }
}

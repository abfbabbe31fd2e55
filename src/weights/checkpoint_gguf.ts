/** Checkpoints in GGUF files: one, or the parts of a split one (`NAME-00001-of-0000N.gguf`). */
import { layerFacts, type ModelConfig, mtpBlocks, parseConfig } from '../config/index.ts';
import { show, WeightError } from '../errors.ts';
import { decodeWeights } from '../tensor.ts';
import type { Checkpoint } from './checkpoint.ts';
import type { FoundWeight } from './find_weight.ts';
import { type GgufFile, type GgufTensor, readGguf } from './gguf.ts';
import { ggufConfig, readArch } from './gguf_config.ts';
import { Metadata } from './gguf_metadata.ts';
import { type GgufArch, ggufName, ROPE_FREQS } from './gguf_names.ts';
import { ggufTexts } from './gguf_tokenizer.ts';
import type { TensorSpec } from './names.ts';
import { OpenFiles } from './open_files.ts';
import { makeCheckpoint, selectWeights } from './select.ts';
import type { FileSource } from './source.ts';
import { ggmlWeight, plainWeight } from './stored_blocks.ts';
import type { TensorData } from './tensor_data.ts';

const PART = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/;

/** More parts than any published file has, so that a wrong count does not open files without end. */
const MAX_PARTS = 1024;

/** Files beside a model that are not one: vision projectors and draft heads. */
const BESIDE = /^(mmproj|mtp)[-_.]/i;

/** A tensor's bytes and what they are. */
interface Entry {
  readonly tensor: GgufTensor;
  readonly data: TensorData;
}

/**
 * The GGUF file of a folder, or the first part of one; undefined when there is none.
 *
 * @throws WeightError when there are several to choose from.
 */
export async function chooseGguf(source: FileSource): Promise<string | undefined> {
  const files = (await source.list?.()) ?? [];
  const models = files.filter((file) => {
    const part = PART.exec(file)?.[2];
    return file.endsWith('.gguf') && !BESIDE.test(file) && (part === undefined || part === '00001');
  });
  if (models.length <= 1) return models[0];
  throw new WeightError(
    source.name,
    undefined,
    'one .gguf file, or the path of one',
    show([...models].sort()),
  );
}

/**
 * Opens a GGUF file; of a split one any part, whose siblings are opened too.
 *
 * @throws as openCheckpoint
 */
export async function openGguf(source: FileSource, name: string): Promise<Checkpoint> {
  const files = new OpenFiles(source);
  try {
    const { first, entries } = await readParts(files, name);
    const metadata = new Metadata(name, first.metadata);
    const arch = readArch(metadata);
    const divisors = entries.get(ROPE_FREQS);
    const embedding = entries.get(ggufName(arch, 'model.embed_tokens.weight') ?? '');
    if (embedding === undefined)
      throw new WeightError(name, 'token_embd.weight', 'this tensor', 'no such tensor');
    const facts = {
      vocab: embedding.tensor.shape.at(-2) ?? 1,
      head: entries.has(ggufName(arch, 'lm_head.weight') ?? ''),
      divisors: divisors === undefined ? undefined : await readVector(divisors),
    };
    const config = parseConfig(ggufConfig(arch, metadata, facts), name);
    splitFused(config, entries);
    const weights = selectWeights(
      config,
      new Map(Array.from(entries, ([key, { data }]) => [key, data])),
      (wanted) => findGgufWeight(arch, wanted, entries),
      (tensor) => tensor === ROPE_FREQS,
      name,
    );
    return makeCheckpoint({
      name: `${source.name.replace(/\/$/, '')}/${name}`,
      config,
      weights,
      texts: ggufTexts(metadata, config.vocab_size),
      close: () => files.close(),
    });
  } catch (error) {
    await files.close();
    throw error;
  }
}

/** The header of the first part, and the tensors of all. */
async function readParts(
  files: OpenFiles,
  name: string,
): Promise<{ first: GgufFile; entries: Map<string, Entry> }> {
  const match = PART.exec(name);
  const count = match === null ? 1 : Number(match[3]);
  if (count < 1 || count > MAX_PARTS)
    throw new WeightError(name, undefined, `1 to ${MAX_PARTS} parts`, String(count));
  const entries = new Map<string, Entry>();
  let first: GgufFile | undefined;
  for (let part = 0; part < count; part++) {
    const file =
      match === null ? name : `${match[1]}-${String(part + 1).padStart(5, '0')}-of-${match[3]}.gguf`;
    const header = await readPart(files, file);
    checkSplit(file, header, part, count);
    first ??= header;
    for (const tensor of header.tensors) {
      const other = entries.get(tensor.name);
      if (other !== undefined) {
        throw new WeightError(file, tensor.name, 'a tensor in one part', `it in ${other.tensor.file} too`);
      }
      const data = files.tensor({ ...tensor, dtype: tensor.type.format.toUpperCase() });
      entries.set(tensor.name, { tensor, data });
    }
  }
  if (first === undefined) throw new WeightError(name, undefined, 'a part', 'none');
  const total = first.metadata.get('split.tensors.count');
  if (total !== undefined && total !== entries.size) {
    throw new WeightError(
      name,
      undefined,
      `${show(total)} tensors (split.tensors.count)`,
      String(entries.size),
    );
  }
  return { first, entries };
}

async function readPart(files: OpenFiles, name: string): Promise<GgufFile> {
  const file = await files.open(name);
  if (file === undefined)
    throw new WeightError(name, undefined, `this file in ${files.source.name}`, 'no such file');
  return readGguf(file);
}

function checkSplit(file: string, { metadata }: GgufFile, part: number, count: number): void {
  const expected = [['split.no', part] as const, ['split.count', count] as const];
  for (const [key, value] of expected) {
    const found = metadata.get(key);
    // A file that is not split has neither, or a count of 0 or 1.
    if (found === value || (count === 1 && (found === undefined || found === 0))) continue;
    throw new WeightError(file, undefined, `${key} ${value}, as its name says`, show(found));
  }
}

/** Puts queries, keys and values in the place of tensors that hold all three, one after another. */
function splitFused(config: ModelConfig, entries: Map<string, Entry>): void {
  for (const [name, { tensor, data }] of [...entries]) {
    const block = /^blk\.(\d{1,4})\.attn_qkv\.weight$/.exec(name)?.[1];
    if (block === undefined || Number(block) >= config.num_hidden_layers + mtpBlocks(config)) continue;
    const { heads, kvHeads, headDim, latent } = layerFacts(config, Number(block)).attention;
    const rows = [latent ?? heads * headDim, kvHeads * headDim, kvHeads * headDim];
    const [total, cols] = data.shape;
    const expected = rows.reduce((sum, count) => sum + count, 0);
    if (data.shape.length !== 2 || total !== expected) {
      throw new WeightError(
        data.file,
        name,
        `${expected} rows of queries, keys and values`,
        show(data.shape),
      );
    }
    const rowBytes = data.bytes / total;
    let begin = 0;
    for (const [i, part] of [latent === undefined ? 'q' : 'q_a', 'k', 'v'].entries()) {
      const from = begin;
      const slice = { ...data, shape: [rows[i], cols], bytes: rows[i] * rowBytes };
      const read: TensorData['read'] = (at, length, into) => data.read(from + at, length, into);
      entries.set(`blk.${block}.attn_${part}.weight`, {
        tensor,
        data: { ...slice, name: `${name} (${part})`, read },
      });
      begin += slice.bytes;
    }
    entries.delete(name);
  }
}

function findGgufWeight(
  arch: GgufArch,
  { name, shape }: TensorSpec,
  entries: ReadonlyMap<string, Entry>,
): FoundWeight | undefined {
  const entry = entries.get(ggufName(arch, name) ?? '');
  if (entry === undefined) return undefined;
  const { tensor, data } = entry;
  if (data.shape.join() !== shape.join()) {
    throw new WeightError(data.file, data.name, `shape ${show(shape)}`, show(data.shape));
  }
  return { weight: plainWeight(name, data) ?? ggmlWeight(name, data, tensor.type), used: [data.name] };
}

async function readVector({ tensor, data }: Entry): Promise<number[]> {
  if (tensor.type.format !== 'f32' || tensor.shape.length !== 1 || tensor.shape[0] > 4096) {
    throw new WeightError(
      data.file,
      data.name,
      'F32 values, at most 4096',
      `${data.dtype} ${show(data.shape)}`,
    );
  }
  const values = new Float64Array(tensor.shape[0]);
  decodeWeights('f32', await data.read(0, data.bytes), 0, values.length, values);
  return [...values];
}

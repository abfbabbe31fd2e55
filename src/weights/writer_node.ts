/** Writes safetensors and GGUF files through Node's file handles. Node only: import it dynamically. */
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { basename } from 'node:path';
import { WeightError } from '../errors.ts';
import { align, encodeGgufHeader, type GgufTensorHeader, ggufBytes, type TypedValue } from './gguf_writer.ts';
import { byteLength, encodeHeader, type TensorHeader } from './safetensors.ts';

/** A tensor to write; its bytes come in pieces of any size, asked for once. */
export interface TensorToWrite extends TensorHeader {
  pieces(): AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

/**
 * Writes a safetensors file in one pass, one piece in memory at a time. The file appears under its name only when it is
 * complete (an older one is replaced then); after an error nothing is left.
 * @throws WeightError when the pieces of a tensor are not as many bytes as its shape and dtype say, and for a
 *   repeated name; file-system errors pass through, e.g. ENOSPC
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly TensorToWrite[],
  metadata?: Readonly<Record<string, string>>,
): Promise<void> {
  const file = basename(path);
  const { header, order } = encodeHeader(file, tensors, metadata);
  await writeWhole(path, async (handle) => {
    await append(handle, header);
    for (const tensor of order) {
      const expected = byteLength(file, tensor.name, tensor.dtype, tensor.shape);
      await appendPieces(handle, file, tensor, expected);
    }
  });
}

/** A tensor of a GGUF file to write, as {@link TensorToWrite}. */
export interface GgufTensorToWrite extends GgufTensorHeader {
  pieces(): AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

/** Writes a GGUF file, under the same terms as {@link writeSafetensors}. */
export async function writeGguf(
  path: string,
  metadata: ReadonlyMap<string, TypedValue>,
  tensors: readonly GgufTensorToWrite[],
): Promise<void> {
  await writeWhole(path, async (handle) => {
    await append(handle, encodeGgufHeader(metadata, tensors));
    for (const tensor of tensors) {
      const expected = ggufBytes(tensor);
      await appendPieces(handle, basename(path), tensor, expected);
      await append(handle, new Uint8Array(align(expected) - expected));
    }
  });
}

/** Runs `write` on a new file beside `path` and gives it that name at the end; removes it when `write` throws. */
export async function writeWhole(path: string, write: (handle: FileHandle) => Promise<void>): Promise<void> {
  const temporary = `${path}.${process.pid}.partial`;
  const handle = await open(temporary, 'w');
  try {
    try {
      await write(handle);
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** A tensor's pieces, which must be `expected` bytes together. */
async function appendPieces(
  handle: FileHandle,
  file: string,
  tensor: TensorToWrite | GgufTensorToWrite,
  expected: number,
): Promise<void> {
  let written = 0;
  for await (const piece of tensor.pieces()) {
    written += piece.length;
    if (written > expected) break;
    await append(handle, piece);
  }
  if (written !== expected)
    throw new WeightError(file, tensor.name, `${expected} bytes`, `${written} or more`);
}

/** write(2) may take less than it was given. */
async function append(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) done += (await handle.write(bytes, done)).bytesWritten;
}

/** Checkpoint files of a directory, through Node's file handles. Node only: import it dynamically. */
import { type FileHandle, open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { WeightError } from '../errors.ts';
import { allocate, checkRange, type FileSource, type RangeFile, within } from './source.ts';

/** One read(2) moves less than 2 GiB. */
const MAX_READ = 2 ** 30;

/** Files of the directory `dir`; symbolic links are followed, as model caches are made of them. */
export function directorySource(dir: string): FileSource {
  return { name: dir, open: (file) => openFile(dir, file), list: () => listFiles(dir) };
}

async function listFiles(dir: string): Promise<string[]> {
  try {
    return await readdir(dir);
  } catch (cause) {
    const code = errorCode(cause);
    const found = code === 'ENOENT' ? 'no such file or folder' : code;
    throw new WeightError(dir, undefined, 'a folder or a .gguf file', found, { cause });
  }
}

async function openFile(dir: string, file: string): Promise<RangeFile | undefined> {
  const path = join(dir, file);
  try {
    // Asked before opening: opening a named pipe would wait for a writer.
    const found = await stat(path);
    if (!found.isFile()) {
      throw new WeightError(
        file,
        undefined,
        'a file',
        found.isDirectory() ? 'a directory' : 'a special file',
      );
    }
    const handle = await open(path, 'r');
    return rangeFile(handle, file, found.size);
  } catch (cause) {
    if (cause instanceof WeightError) throw cause;
    if (errorCode(cause) === 'ENOENT') return undefined;
    throw new WeightError(file, undefined, `a readable file at ${path}`, errorCode(cause), { cause });
  }
}

function rangeFile(handle: FileHandle, name: string, size: number): RangeFile {
  return {
    name,
    size,
    read: async (offset, length, into) => {
      checkRange(name, size, offset, length);
      const out = within(into, length) ?? uncleared(name, length);
      for (let done = 0; done < length; ) {
        const bytes = await readSome(
          handle,
          name,
          out,
          done,
          Math.min(length - done, MAX_READ),
          offset + done,
        );
        if (bytes === 0) {
          throw new WeightError(
            name,
            undefined,
            `${length} bytes at ${offset}`,
            `the end of the file after ${done}`,
          );
        }
        done += bytes;
      }
      return out;
    },
    close: () => handle.close(),
  };
}

/** A fresh buffer that is not zeroed, since a read fills it or fails: zeroing costs as much as reading. */
function uncleared(name: string, length: number): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(Buffer.allocUnsafeSlow(length).buffer as ArrayBuffer);
  } catch {
    return allocate(name, length);
  }
}

async function readSome(
  handle: FileHandle,
  name: string,
  out: Uint8Array,
  at: number,
  length: number,
  position: number,
): Promise<number> {
  try {
    return (await handle.read(out, at, length, position)).bytesRead;
  } catch (cause) {
    throw new WeightError(name, undefined, `${length} bytes at ${position}`, errorCode(cause), { cause });
  }
}

/** The system's short name for a failure, like EACCES. */
function errorCode(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}

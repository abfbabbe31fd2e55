/** The open files of a checkpoint, closed together. */
import { WeightError } from '../errors.ts';
import { checkRange, type FileSource, type RangeFile } from './source.ts';
import type { TensorData } from './tensor_data.ts';

/** Where a tensor stands in one of the files. */
interface Place {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly file: string;
  readonly begin: number;
  readonly bytes: number;
}

/** Files of a source that were opened by name. */
export class OpenFiles {
  readonly source: FileSource;
  readonly #files = new Map<string, RangeFile>();

  constructor(source: FileSource) {
    this.source = source;
  }

  /** Opens a file; undefined when there is none. */
  async open(name: string): Promise<RangeFile | undefined> {
    const file = await this.source.open(name);
    if (file !== undefined) this.#files.set(name, file);
    return file;
  }

  /** A tensor of an open file; reading it after {@link close} throws WeightError. */
  tensor({ name, dtype, shape, file, begin, bytes }: Place): TensorData {
    return {
      name,
      dtype,
      shape,
      file,
      bytes,
      read: async (from, length, into) => {
        checkRange(file, bytes, from, length);
        const open = this.#files.get(file);
        if (open === undefined) throw new WeightError(file, name, 'an open file', 'a closed one');
        return open.read(begin + from, length, into);
      },
    };
  }

  async close(): Promise<void> {
    const open = [...this.#files.values()];
    this.#files.clear();
    await Promise.all(open.map((file) => file.close()));
  }
}

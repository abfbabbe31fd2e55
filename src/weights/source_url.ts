/** Checkpoint files over HTTP, read with Range requests: in browsers and in Node. */
import { WeightError } from '../errors.ts';
import { allocate, checkRange, type FileSource, memoryFile, type RangeFile, within } from './source.ts';

/** A server without Range support may still serve small files (config.json, an index) whole. */
const MAX_WHOLE_BYTES = 64 * 2 ** 20;

/**
 * Files below `base`, e.g. `https://host/models/step3/`; a missing trailing slash is added.
 * @param fetchFn replaces the global fetch, e.g. to add credentials
 * @throws WeightError when `base` is not an address; reading throws it for network failures, unexpected statuses,
 *   short or long bodies, and servers that ignore Range for files above 64 MiB
 */
export function urlSource(base: string | URL, fetchFn: typeof fetch = fetch): FileSource {
  const root = rootUrl(base);
  return {
    name: root.href,
    open: (file) => openUrl(new URL(encodeURIComponent(file), root), file, fetchFn),
  };
}

function rootUrl(base: string | URL): URL {
  try {
    const url = new URL(base, globalThis.location?.href);
    if (!url.pathname.endsWith('/')) url.pathname += '/';
    return url;
  } catch (cause) {
    throw new WeightError(String(base), undefined, 'a URL', 'something else', { cause });
  }
}

/** Learns the size from a request for the first byte: HEAD may be refused, or describe a compressed body. */
async function openUrl(url: URL, file: string, fetchFn: typeof fetch): Promise<RangeFile | undefined> {
  const response = await request(fetchFn, url, file, 'bytes=0-0');
  const range = response.headers.get('content-range');
  if (response.status === 200) return memoryFile(file, await wholeBody(response, file));
  await response.body?.cancel();
  if (response.status === 404 || response.status === 410) return undefined;
  if (response.status === 416 && range === 'bytes */0') return memoryFile(file, new Uint8Array(0));
  if (response.status !== 206) {
    throw new WeightError(file, undefined, 'HTTP status 206', `${response.status} from ${url.href}`);
  }
  const size = Number(/^bytes 0-0\/(\d+)$/.exec(range ?? '')?.[1] ?? Number.NaN);
  if (!Number.isSafeInteger(size)) {
    const found = range === null ? 'none (a cross-origin server must expose it)' : JSON.stringify(range);
    throw new WeightError(file, undefined, 'a Content-Range header with the size', found);
  }
  return {
    name: file,
    size,
    read: async (offset, length, into) => {
      checkRange(file, size, offset, length);
      if (length === 0) return new Uint8Array(0);
      const out = within(into, length) ?? allocate(file, length);
      return readRange(fetchFn, url, file, offset, out);
    },
    close: async () => {},
  };
}

async function readRange(
  fetchFn: typeof fetch,
  url: URL,
  file: string,
  offset: number,
  out: Uint8Array<ArrayBuffer>,
): Promise<Uint8Array<ArrayBuffer>> {
  const { length } = out;
  const wanted = `bytes ${offset}-${offset + length - 1}/`;
  const response = await request(fetchFn, url, file, `bytes=${offset}-${offset + length - 1}`);
  const range = response.headers.get('content-range');
  if (response.status !== 206 || (range !== null && !range.startsWith(wanted))) {
    await response.body?.cancel();
    throw new WeightError(
      file,
      undefined,
      `HTTP status 206 with ${wanted}`,
      `${response.status} with ${range}`,
    );
  }
  const body = await fill(response, file, out);
  if (body.length !== length) {
    throw new WeightError(
      file,
      undefined,
      `${length} bytes at ${offset}`,
      `a response of ${body.length} bytes`,
    );
  }
  return body;
}

async function request(fetchFn: typeof fetch, url: URL, file: string, range: string): Promise<Response> {
  try {
    return await fetchFn(url, { headers: { Range: range } });
  } catch (cause) {
    throw new WeightError(file, undefined, `an answer from ${url.href}`, String(cause), { cause });
  }
}

async function wholeBody(response: Response, file: string): Promise<Uint8Array> {
  const length = Number(response.headers.get('content-length') ?? 0);
  if (length > MAX_WHOLE_BYTES) {
    await response.body?.cancel();
    throw new WeightError(
      file,
      undefined,
      'a server that supports Range requests',
      `${length} bytes sent whole`,
    );
  }
  return (await fill(response, file, allocate(file, MAX_WHOLE_BYTES))).slice();
}

/** The body, at the start of `out`; a longer body is cut off and refused. */
async function fill(
  response: Response,
  file: string,
  out: Uint8Array<ArrayBuffer>,
): Promise<Uint8Array<ArrayBuffer>> {
  const reader = response.body?.getReader();
  let filled = 0;
  try {
    while (reader !== undefined) {
      const { done, value } = await reader.read();
      if (done) break;
      if (filled + value.length > out.length) {
        await reader.cancel();
        throw new WeightError(file, undefined, `a response of at most ${out.length} bytes`, 'a longer one');
      }
      out.set(value, filled);
      filled += value.length;
    }
  } catch (cause) {
    if (cause instanceof WeightError) throw cause;
    throw new WeightError(file, undefined, 'a complete response', `${filled} bytes, then ${cause}`, {
      cause,
    });
  }
  return out.subarray(0, filled);
}

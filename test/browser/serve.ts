/** A small static server for one page: files of given folders with byte ranges, and a place to report to. */
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join } from 'node:path';

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.json': 'application/json',
  '.mjs': 'text/javascript',
};

/** A running server. */
export interface PageServer {
  /** `http://127.0.0.1:PORT`: a secure context, as WebGPU needs. */
  readonly origin: string;
  /** What the page posts to `/report`, parsed. */
  readonly report: Promise<unknown>;
  /** Requests so far, as `PATH STATUS`. */
  readonly served: readonly string[];
  close(): Promise<void>;
}

/** Serves every folder below its prefix, e.g. `{ '/dist/': '…/dist' }`, on a free port of this machine only. */
export async function servePage(folders: Readonly<Record<string, string>>): Promise<PageServer> {
  let reported: (value: unknown) => void = () => {};
  let failed: (cause: unknown) => void = () => {};
  const report = new Promise<unknown>((resolve, reject) => {
    reported = resolve;
    failed = reject;
  });
  // Nobody may be waiting when the server closes.
  report.catch(() => {});
  const served: string[] = [];
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const { pathname } = new URL(request.url ?? '/', 'http://localhost');
    if (request.method === 'POST' && pathname === '/report') {
      const parts: Buffer[] = [];
      for await (const part of request) parts.push(part);
      response.writeHead(204).end();
      reported(JSON.parse(Buffer.concat(parts).toString()));
    } else {
      await sendFile(fileOf(folders, pathname), request.headers.range, response);
    }
    served.push(`${pathname} ${response.statusCode}`);
  };
  const server = createServer((request, response) => {
    answer(request, response).catch((cause) => {
      failed(cause);
      response.destroy();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    report,
    served,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** `URL` has already resolved `..`, and escapes are not decoded, so a path stays below its prefix. */
function fileOf(folders: Readonly<Record<string, string>>, pathname: string): string | undefined {
  const prefix = Object.keys(folders).find((start) => pathname.startsWith(start));
  return prefix === undefined ? undefined : join(folders[prefix], pathname.slice(prefix.length));
}

async function sendFile(
  path: string | undefined,
  range: string | undefined,
  response: ServerResponse,
): Promise<void> {
  const bytes = path === undefined ? undefined : await readFile(path).catch(() => undefined);
  if (path === undefined || bytes === undefined) {
    response.writeHead(404).end();
    return;
  }
  const headers = {
    'Accept-Ranges': 'bytes',
    'Cache-Control': 'no-store',
    'Content-Type': TYPES[extname(path)] ?? 'application/octet-stream',
  };
  const wanted = /^bytes=(\d+)-(\d+)$/.exec(range ?? '');
  if (wanted === null) {
    response.writeHead(200, headers).end(bytes);
    return;
  }
  const begin = Number(wanted[1]);
  const end = Math.min(Number(wanted[2]), bytes.length - 1);
  if (begin > end) {
    response.writeHead(416, { 'Content-Range': `bytes */${bytes.length}` }).end();
    return;
  }
  response
    .writeHead(206, { ...headers, 'Content-Range': `bytes ${begin}-${end}/${bytes.length}` })
    .end(bytes.subarray(begin, end + 1));
}

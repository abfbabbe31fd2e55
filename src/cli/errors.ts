/** Exit codes, and errors as one line. */
import { CommanderError } from 'commander';
import { Step3Error } from '../errors.ts';

/** Exit codes of every command. */
export const EXIT = { ok: 0, unexpected: 1, usage: 2, weights: 3, device: 4, interrupted: 130 } as const;

/** The exit codes for people; shown by `--help`. */
export const EXIT_HELP = `
Exit codes:
  0    all went well
  1    an unexpected error
  2    wrong usage or input: an unknown option, a prompt past the context
  3    a configuration or checkpoint that is missing, malformed or not supported
  4    no usable adapter, or a kernel or device failure
  130  interrupted`;

const BY_CODE: Readonly<Record<string, number>> = {
  input: EXIT.usage,
  config: EXIT.weights,
  weight: EXIT.weights,
  kernel: EXIT.device,
  device: EXIT.device,
  'device-lost': EXIT.device,
};

/** What the file system says about a path that the user named. */
const PATH_ERRORS = new Set(['ENOENT', 'EACCES', 'EPERM', 'ENOTDIR', 'EISDIR', 'EEXIST', 'EROFS']);

/** The exit code that stands for an error. */
export function exitCode(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  if (error instanceof Step3Error) return BY_CODE[error.code] ?? EXIT.unexpected;
  if (!(error instanceof Error)) return EXIT.unexpected;
  if (error.name === 'AbortError') return EXIT.interrupted;
  if ('code' in error && PATH_ERRORS.has(String(error.code))) return EXIT.usage;
  return EXIT.unexpected;
}

/** An error's message on one line. */
export function oneLine(error: unknown): string {
  if (error instanceof Error && error.name === 'AbortError') return 'interrupted';
  const text = error instanceof Error ? error.message : String(error);
  return text
    .replace(/^error: /, '')
    .replace(/\s*\n\s*/g, ' ')
    .trim();
}

/** An error as the JSON object that commands print with `--json`. */
export function errorJson(error: unknown): object {
  const code =
    error instanceof Step3Error ? error.code : exitCode(error) === EXIT.usage ? 'input' : 'unexpected';
  const facts = error instanceof Step3Error ? error.facts : {};
  return {
    error: { code: oneLine(error) === 'interrupted' ? 'interrupted' : code, message: oneLine(error), facts },
  };
}

/** Feeds prompts into the cache in chunks; several sequences share a chunk. */
import type { LogitRows } from '../model/plans.ts';
import type { PreparedPlan } from './executor.ts';
import type { Model } from './model.ts';

/** A prompt token with its sequence and position. */
export interface PromptToken {
  readonly token: number;
  readonly sequence: number;
  readonly position: number;
  /** Whether it is the last of its prompt, so that the next token is sampled from it. */
  readonly last: boolean;
}

/** All tokens of all prompts, sequence after sequence. */
export function promptTokens(prompts: readonly (readonly number[])[]): PromptToken[] {
  return prompts.flatMap((tokens, sequence) =>
    tokens.map((token, position) => ({ token, sequence, position, last: position === tokens.length - 1 })),
  );
}

/** Writes a chunk's inputs and returns its plan; `want` says which rows get logits. */
export async function prepareChunk(
  model: Model,
  chunk: readonly PromptToken[],
  want: 'all' | 'last',
): Promise<{ plan: PreparedPlan; picked: readonly PromptToken[] }> {
  const picked = chunk.filter((t) => t.last);
  const rows: LogitRows =
    want === 'all'
      ? { kind: 'all' }
      : picked.length === 0
        ? { kind: 'none' }
        : { kind: 'picked', rows: picked.length };
  const context = Math.max(...chunk.map((t) => t.position)) + 1;
  const plan = await model.prefillPlan(chunk.length, context, rows);
  model.write(
    'token_ids',
    chunk.map((t) => t.token),
  );
  model.write(
    'places',
    chunk.flatMap((t) => [t.sequence, t.position]),
  );
  if (rows.kind === 'picked') {
    model.write(
      'picks',
      picked.map((t) => chunk.indexOf(t)),
    );
    model.write(
      'row_sequences',
      picked.map((t) => t.sequence),
    );
  }
  return { plan, picked };
}

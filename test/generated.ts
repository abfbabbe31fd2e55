/** Generations from beginning to end. */
import type { GeneratedToken, GenerateOptions, GenerateSummary } from '../src/runtime/generate.ts';
import type { Model } from '../src/runtime/model.ts';

/** Everything that a generation gives; without stop tokens, unless the options name some. */
export async function collect(
  model: Model,
  prompts: readonly (readonly number[])[],
  options: GenerateOptions,
): Promise<{ tokens: number[][]; events: GeneratedToken[]; summary: GenerateSummary }> {
  const run = model.generateBatch(prompts, { stopTokens: [], ...options });
  const events: GeneratedToken[] = [];
  const tokens: number[][] = prompts.map(() => []);
  for (;;) {
    const next = await run.next();
    if (next.done === true) return { tokens, events, summary: next.value };
    events.push(next.value);
    tokens[next.value.sequence].push(next.value.token);
  }
}

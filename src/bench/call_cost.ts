/** What a planned call has to do for the positions that its tokens really have. */
import type { Cost } from '../kernels/kernel.ts';
import { type AttentionParams, seenPositions } from '../kernels/mfa_decode.ts';
import type { KernelCall } from '../model/plan.ts';

/**
 * Work of a call as its kernel declares it. Plans are made for the longest context of several steps; attention is costed at
 * the mean of what the tokens of the call see, where `contextOf` says up to where row `row` of the step does.
 */
export function callCost({ kernel, params }: KernelCall, contextOf: (row: number) => number): Cost {
  if (!isAttention(params)) return kernel.cost(params);
  const { tokenBegin, tokens, context } = params;
  let seen = 0;
  for (let row = tokenBegin; row < tokenBegin + tokens; row++) {
    seen += seenPositions({ ...params, context: Math.min(context, contextOf(row)) });
  }
  return kernel.cost({ ...params, context: seen / tokens });
}

function isAttention(params: unknown): params is AttentionParams {
  return (params as Partial<AttentionParams>).context !== undefined;
}

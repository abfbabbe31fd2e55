/** Gates of attention heads, as the kernels that finish attention bind them. */
import type { WgslName } from '../wgsl/generated.ts';
import type { BindingSpec } from './kernel.ts';

/** Where the gates of a call's heads stand in rows of the fused projection. */
export interface GatesAt {
  readonly stride: number;
  readonly at: number;
}

/** The library file that gives `gate`; 1 for heads without gates. */
export function gateLib(gates: GatesAt | undefined): WgslName {
  return gates === undefined ? 'lib/gate_none' : 'lib/gate_heads';
}

/** Its constants. */
export function gateConstants(gates: GatesAt | undefined): Record<string, number> {
  return gates === undefined ? {} : { GATE_STRIDE: gates.stride, GATE_AT: gates.at };
}

/** Its binding, of all rows of a step. */
export function gateBindings(gates: GatesAt | undefined, tokens: number): Record<string, BindingSpec> {
  return gates === undefined ? {} : { gates: { type: 'f32', dims: [tokens, gates.stride], use: 'in' } };
}

/** How the specialised text of a kernel lays a call out: what every file of layouts returns. */
import { COMPRESSED_FORMATS } from '../formats/index.ts';
import { kernelParts } from '../kernels/kernel.ts';
import type { KernelCall } from '../model/plan.ts';
import type { WeightFormat } from '../tensor.ts';
import type { Work, WorkOptions } from './work.ts';

/** The part of a call's work that follows from its layout. */
export type Layout = Pick<Work, 'family' | 'workgroups' | 'depth' | 'groupFlops'> & {
  readonly units?: Work['units'];
};

/** What of a call its layout depends on. */
export type LaidOut = Pick<KernelCall, 'kernel' | 'params' | 'variant'>;

/** The layout of a kernel's calls. */
export type LayoutOf = (call: LaidOut, options: WorkOptions) => Layout;

/** Constants of the specialised text, those of the variant included. */
export function constantsOf(call: LaidOut): Record<string, number> {
  return kernelParts(call.kernel, call.params, call.variant).constants as Record<string, number>;
}

/**
 * What the name of a family says about the format of the weights: nothing for those that are a load and a shift away from
 * f32, whose times differ by their bytes alone; the format's name for any other, which so has laws and probes of its own.
 */
export function formatName(format: string): string {
  return ['bf16', 'f16', 'f32'].includes(format) ? '' : ` ${format}`;
}

/** The format that the name of a family ends with; undefined where it says nothing of it. */
export function formatOf(family: string): WeightFormat | undefined {
  return COMPRESSED_FORMATS.find((format) => family.endsWith(formatName(format)));
}

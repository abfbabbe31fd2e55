/** Variants of kernels whose workgroups are cut into parts that sum over their invocations. */
import type { Variant } from './kernel.ts';

/** Sums through workgroup memory: runs everywhere. */
export const WORKGROUP_PARTS: Variant = {
  name: 'workgroup',
  libs: ['lib/parts_workgroup'],
  enables: [],
  team: () => 32,
  available: () => true,
};

/** Sums through subgroups of at least `least` invocations: the more, the fewer sums in workgroup memory. */
function subgroupParts(name: string, least: 4 | 32): Variant {
  return {
    name,
    libs: ['lib/parts_subgroup'],
    enables: ['subgroups'],
    constants: { PART_LEAST: least },
    team: (caps) => caps.subgroupMaxSize,
    available: (caps) => caps.subgroups && caps.subgroupMinSize >= least,
  };
}

export const SUBGROUP_PARTS: Variant = subgroupParts('subgroup', 4);
/** Subgroups of 32 are those of GPUs. */
export const SUBGROUP_32_PARTS: Variant = subgroupParts('subgroup-32', 32);

/** Words of workgroup memory that WebGPU guarantees. */
export const MEMORY_WORDS = 4096;

/**
 * Most fours of rows whose sums, for so many tokens, all parts of a workgroup have room for. Parts have at least `least`
 * invocations.
 */
export function mostQuads(WG: number, words: number, tokens = 1, least = 4): number {
  return Math.max(1, Math.floor((words / (WG / least) / tokens - 1) / 4));
}

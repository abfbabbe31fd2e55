/** matvec_rows with subgroups of 32 on adapters with others: exchanges between lanes go through workgroup memory. */
import type { LinearParams } from '../src/kernels/linear.ts';
import { type Replacements, replaced } from './emulated.ts';

/** Of one, two and four numbers of each lane. */
const SHUFFLES = `
var<workgroup> lanes: array<vec4<f32>, WG>;

fn shuffle4(v: vec4<f32>, bit: u32) -> vec4<f32> {
  workgroupBarrier();
  lanes[invocation] = v;
  workgroupBarrier();
  return lanes[invocation ^ bit];
}

fn shuffle2(v: vec2<f32>, bit: u32) -> vec2<f32> {
  return shuffle4(vec4<f32>(v, 0.0, 0.0), bit).xy;
}

fn shuffle1(v: f32, bit: u32) -> f32 {
  return shuffle4(vec4<f32>(v), bit).x;
}
`;

const PARTS: Replacements = [
  [/^enable subgroups;$/gm, ''],
  [/^ *@builtin\((subgroup_\w+|num_subgroups)\) .*\n/gm, ''],
  [
    /^ {2}invocation = local_index;\n/m,
    '  invocation = local_index;\n  let subgroup_id = local_index / 32u;\n  let lane = local_index % 32u;\n  let size = 32u;\n  let count = WG / 32u;\n',
  ],
  [/subgroupShuffleXor\((?=select\(b, a)/g, 'shuffle4('],
  [/subgroupShuffleXor\((?=select\(v\.)/g, 'shuffle2('],
  [/subgroupShuffleXor\((?=select\(pair\.|one|two|sum)/g, 'shuffle1('],
  [/$/, SHUFFLES],
  // Loops whose end is no constant are not unrolled: less to compile.
  [/q < QUADS; q/, 'q < QUADS + (params.row_count >> 31u); q'],
  [/j < STEPS; j/g, 'j < STEPS + (params.row_count >> 31u); j'],
];

export function emulatedParts(text: string): string {
  return replaced(text, PARTS);
}

/** Bytes of workgroup memory: the exchanges beside what WebGPU guarantees, of which the kernel may use all. */
export function partsBytes({ tile, N, K }: LinearParams): number {
  // One token has its sums as any part has them; a few small shapes of several take all ways of the text.
  return tile > 1 && N < 14 && K !== 7168 ? 16 * 1024 + 256 * 16 : Number.POSITIVE_INFINITY;
}

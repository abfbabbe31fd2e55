/**
 * The calls that laws are fitted on: for each kernel family, shapes that reach every corner of its law (one workgroup and
 * many, few iterations and many, small and large). None is a shape of a preset; a test checks that, and that every family
 * of every preset's plans is probed.
 */
import type { Capabilities } from '../kernels/kernel.ts';
import { SUBGROUP_32_PARTS } from '../kernels/parts.ts';
import type { WeightFormat } from '../tensor.ts';
import {
  combineProbes,
  matrixAttention,
  plainAttention,
  prefillAttention,
  quadAttention,
  tileAttention,
} from './probe_attention.ts';
import {
  downProbes,
  groupedMatvecProbes,
  matmulProbes,
  matrixProbes,
  matvecProbes,
  PROBED,
  probedRows,
  routedProbes,
  rowsProbes,
} from './probe_linear.ts';
import { ropeProbes } from './probe_rope.ts';
import { routingProbes, rowProbes, sampleProbes } from './probe_rows.ts';
import type { ProbeShape, Some } from './probe_shape.ts';

/**
 * Every probe that the adapter can run, family by family; of 16-bit weights, and of compressed ones in `formats`. `brief`: few
 * of them, of few distinct pipelines, for adapters that take long to compile and whose times are simpler.
 */
export function probeShapes(
  caps: Capabilities,
  brief: boolean,
  formats: readonly WeightFormat[] = [],
): ProbeShape[] {
  const some: Some = (shapes, few) => (brief ? shapes.slice(0, few) : shapes);
  return [
    ...[PROBED, ...formats.map(probedRows)].flatMap((row) => [
      ...[1, 2, 4].flatMap((tile) => matvecProbes(row, tile, some)),
      ...routedProbes(row, some),
      ...groupedMatvecProbes(row, some),
      ...downProbes(row, some),
      // Without matrix units, or with weights in f32.
      ...matmulProbes(row, some),
      ...(caps.matrixUnits ? matrixProbes(row) : []),
    ]),
    ...(SUBGROUP_32_PARTS.available(caps) ? rowsProbes() : []),
    ...(caps.matrixUnits ? [...matrixAttention(), ...tileAttention(), ...prefillAttention()] : []),
    ...quadAttention(some),
    ...plainAttention(some),
    ...combineProbes(some),
    ...ropeProbes(some),
    ...rowProbes(some),
    ...routingProbes(some),
    ...sampleProbes(some),
  ];
}

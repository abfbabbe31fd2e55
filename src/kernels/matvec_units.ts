/** Linear layer of compressed weights, few tokens at a time: x stays in registers for all rows of a workgroup. */
import { KernelError } from '../errors.ts';
import { isPlain } from '../formats/index.ts';
import { ceilDiv } from '../tensor.ts';
import { formatBench, formatShapes, unitShapes } from './format_cases.ts';
import { defineKernel, type Kernel, type Tolerance, type Variant } from './kernel.ts';
import {
  type LinearParams,
  linearBindings,
  linearCheck,
  linearConstants,
  linearCost,
  linearGrid,
  linearInputs,
  linearLibs,
  linearUniforms,
  rowGroups,
  sharedRows,
  tileCount,
} from './linear.ts';
import { linearReference } from './linear_reference.ts';
import { exact, roundedBytes, roundedTolerance, usesBytes, withBytes } from './packed_bytes.ts';
import { MEMORY_WORDS, mostQuads, SUBGROUP_32_PARTS, SUBGROUP_PARTS, WORKGROUP_PARTS } from './parts.ts';
import { routingWords } from './routing.ts';
import { hasBytes, type Levels, ownLibs, unitWorkgroup } from './weights.ts';

const WORKGROUP = exact(WORKGROUP_PARTS);

const SUBGROUP = exact(SUBGROUP_PARTS);
const SUBGROUP_32 = exact(SUBGROUP_32_PARTS);
const SUBGROUP_32_BYTES = withBytes(SUBGROUP_32);

/** Fastest first. */
const BYTES: readonly Variant[] = [roundedBytes(SUBGROUP_32_BYTES), SUBGROUP_32_BYTES, withBytes(SUBGROUP)];

/** Where levels are found. */
const levelsOf = ({ name }: Variant): Levels => (name.startsWith(SUBGROUP_32.name) ? 'memory' : 'computed');

/** Rows of x that a workgroup may have. */
const UNIT_TILES: readonly number[] = [1, 2];

/**
 * Invocations of all workgroups: so many subgroups of 32 on each of 132 processors, by the rows of x, which is what registers
 * leave room for. More would be a second round, of which the last workgroups leave most of the GPU idle.
 */
const ROUND: Readonly<Record<number, number>> = { 1: 132 * 28 * 32, 2: 132 * 20 * 32 };

/** Rounds that are better for experts that are chosen on the spot: more workgroups hide that choosing takes time. */
const CHOSEN = 1.4;

/** The same for formats whose levels are looked up, which keep processors busier than memory; and their most fours of rows. */
const LOOKED_UP = { rounds: 2, most: 4 };

/**
 * Workgroups whose invocations take several units in turn: how many they may have, and their most fours of rows, whose sums
 * stay in registers, where x as floats takes more of these than as bytes.
 */
const LONG = {
  bytes: { workgroups: [192, 160, 128], most: 3 },
  floats: { workgroups: [128], most: 1 },
} as const;

const longOf = (p: LinearParams) => LONG[hasBytes(p.format) ? 'bytes' : 'floats'];

/** Invocations of a workgroup. */
const workgroup = (p: LinearParams): number => unitWorkgroup(ceilDiv(p.K, 32), longOf(p).workgroups);

/** Fours of rows of a workgroup: as few as leave one round or, where that would be too many, as few rounds as may be. */
function quads(p: LinearParams): number {
  const WG = workgroup(p);
  const looksUp = !hasBytes(p.format) && p.format !== 'fp8';
  const rounds = (p.source.kind === 'routed' ? CHOSEN : 1) * (looksUp ? LOOKED_UP.rounds : 1);
  const wanted = Math.ceil((rowGroups(p, 4) * tileCount(p) * WG) / ROUND[p.tile] / rounds);
  const fill = (most: number) => ceilDiv(wanted, ceilDiv(wanted, most));
  // Sums have what choosing experts leaves.
  const choosing = p.source.kind === 'routed' ? routingWords(p.source.routing) : 0;
  const most = mostQuads(WG, MEMORY_WORDS - choosing, p.tile);
  if (ceilDiv(p.K, 32) > WG) return fill(Math.min(most, longOf(p).most));
  if (looksUp) return Math.min(wanted, LOOKED_UP.most);
  return fill(most);
}

/** Whether the rows of every expert are a multiple of four. */
const inFours = (p: LinearParams): boolean => p.shard.rowCount % 4 === 0 && sharedRows(p.source) % 4 === 0;

/** A norm makes activations larger, SwiGLU multiplies two sums. */
function tolerance(p: LinearParams, variant: Variant): Tolerance {
  const larger = (p.norm === 'rms' ? 2 : 1) * (p.out === 'swiglu' ? 4 : 1);
  return roundedTolerance(variant, p.format, p.K, larger);
}

export const matvec_units: Kernel<LinearParams> = defineKernel<LinearParams>({
  name: 'matvec_units',
  summary:
    'matvec for compressed weights and one or two tokens at a time, with x in registers; dense, picked rows or experts',
  variants: [...BYTES, SUBGROUP_32, SUBGROUP, WORKGROUP],
  libs: (p, variant) => linearLibs(p, true, ownLibs(p, p.buffers, usesBytes(variant), levelsOf(variant))),
  check(p) {
    linearCheck('matvec_units', p);
    if (isPlain(p.format)) {
      throw new KernelError('matvec_units', `format: expected a compressed one, got ${p.format}`, {
        params: p,
      });
    }
    const tiles = p.source.kind === 'routed' ? [1] : UNIT_TILES;
    if (!tiles.includes(p.tile)) {
      throw new KernelError('matvec_units', `tile: expected one of ${tiles}, got ${p.tile}`, { params: p });
    }
  },
  constants: (p) => ({
    WG: workgroup(p),
    QUADS: quads(p),
    FOURS: inFours(p),
    TOKENS: p.tile,
    ...linearConstants(p),
  }),
  uniforms: (p) => ({ ...linearUniforms(p), eps: p.eps }),
  bindings: linearBindings,
  workgroups: (p) => linearGrid(p, rowGroups(p, 4 * quads(p))),
  reference: linearReference,
  cost: linearCost,
  tolerance,
  inputs: linearInputs,
  shapes: {
    test: [...formatShapes(1, 1), ...unitShapes()],
    bench: formatBench(1, 1, 'rms'),
  },
});

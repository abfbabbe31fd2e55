/** Linear layer of compressed weights, one token at a time: x stays in registers for all rows of a workgroup. */
import { KernelError } from '../errors.ts';
import { isPlain } from '../formats/index.ts';
import { ceilDiv } from '../tensor.ts';
import { formatBench, formatShapes, unitShapes } from './format_cases.ts';
import { defineKernel, type Kernel, type Variant } from './kernel.ts';
import {
  type LinearParams,
  linearBindings,
  linearCheck,
  linearConstants,
  linearCost,
  linearInputs,
  linearLibs,
  linearUniforms,
  linearWorkgroups,
} from './linear.ts';
import { linearReference } from './linear_reference.ts';
import { evenWorkgroup, hasBytes, ownLibs } from './weights.ts';

const WORKGROUP: Variant = {
  name: 'workgroup',
  libs: ['lib/parts_workgroup'],
  enables: [],
  team: () => 32,
  available: () => true,
};

const SUBGROUP: Variant = {
  name: 'subgroup',
  libs: ['lib/parts_subgroup'],
  enables: ['subgroups'],
  team: (caps) => caps.subgroupMaxSize,
  available: (caps) => caps.subgroups,
};

/** Products of bytes, for the formats that are integers: the same error as f32, and fewer instructions. */
const SUBGROUP_BYTES: Variant = {
  ...SUBGROUP,
  name: 'subgroup-bytes',
  available: (caps) => caps.subgroups && caps.packedDots === true,
};

/** Invocations that are to be there before a workgroup takes more rows: what large GPUs need to be busy. */
const BUSY = 81_920;

/** Invocations that take several units in turn. */
const LONG_WORKGROUP = 128;

/** Invocations of a workgroup: one for each unit, if a workgroup may have so many. */
function workgroup(p: LinearParams): number {
  const units = ceilDiv(p.K, 32);
  const WG = evenWorkgroup(units);
  return units <= WG ? WG : LONG_WORKGROUP;
}

/** Fours of rows of a workgroup. More share the work on x; fewer leave more workgroups, and sums in registers. */
function quads(p: LinearParams): number {
  const [fours, tiles] = linearWorkgroups(p, 4);
  const WG = workgroup(p);
  // x as floats takes more registers than as bytes.
  const once = hasBytes(p.format) ? { short: 8, long: 2 } : { short: 4, long: 1 };
  let most = ceilDiv(p.K, 32) <= WG ? once.short : once.long;
  while (most > 1 && (fours / most) * tiles * WG < BUSY) most /= 2;
  return most;
}

export const matvec_units: Kernel<LinearParams> = defineKernel<LinearParams>({
  name: 'matvec_units',
  summary:
    'matvec for compressed weights and one token at a time, with x in registers; dense, picked rows or experts',
  variants: [SUBGROUP_BYTES, SUBGROUP, WORKGROUP],
  libs: (p, variant) => linearLibs(p, true, ownLibs(p, p.buffers, variant === SUBGROUP_BYTES)),
  check(p) {
    linearCheck('matvec_units', p);
    if (isPlain(p.format)) {
      throw new KernelError('matvec_units', `format: expected a compressed one, got ${p.format}`, {
        params: p,
      });
    }
    if (p.tile !== 1) throw new KernelError('matvec_units', `tile: expected 1, got ${p.tile}`, { params: p });
  },
  constants: (p) => ({ WG: workgroup(p), QUADS: quads(p), ...linearConstants(p) }),
  uniforms: (p) => ({ ...linearUniforms(p), eps: p.eps }),
  bindings: linearBindings,
  workgroups: (p) => linearWorkgroups(p, 4 * quads(p)),
  reference: linearReference,
  cost: linearCost,
  tolerance: { abs: 2e-5, rel: 2e-5, cosine: 1e-9 },
  inputs: linearInputs,
  shapes: {
    test: [...formatShapes(1, 1), ...unitShapes()],
    bench: formatBench(1, 1, 'rms'),
  },
});

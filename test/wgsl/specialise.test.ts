import { describe, expect, it } from 'vitest';
import { describe as describeWgsl } from '../../scripts/embed.mjs';
import { KernelError } from '../../src/errors.ts';
import { KERNELS } from '../../src/kernels/index.ts';
import { kernelWgsl } from '../../src/kernels/kernel.ts';
import { specialise } from '../../src/wgsl/specialise.ts';

const SIZES = { K: 1, X_STRIDE: 8, Y_STRIDE: 8, Y_AT: 0, WG: 32 };

/** Most storage buffers of kernels that may share a call with others' work where an adapter allows it. */
const MORE: Partial<Record<string, number>> = { embed_tokens: 12, mfa_tile: 10 };

describe('specialise', () => {
  it('replaces constants by name, keeps their types, and puts directives first', () => {
    const { text, bindings } = specialise(['rmsnorm'], { ...SIZES, K: 100, X_STRIDE: 104 }, ['subgroups']);
    expect(text.startsWith('enable subgroups;\n')).toBe(true);
    expect(text).toContain('const K: u32 = 100u;');
    expect(text).toContain('const X_STRIDE: u32 = 104u;');
    expect(bindings.map((b) => b.name)).toEqual(['params', 'x', 'y', 'gamma']);
  });

  it('names a missing and an unknown constant, and colliding bindings', () => {
    expect(() => specialise(['rmsnorm'], { K: 1 })).toThrow(KernelError);
    expect(() => specialise(['rmsnorm'], { K: 1 })).toThrow(/no value for the constant X_STRIDE/);
    expect(() => specialise(['rmsnorm'], { ...SIZES, WIDTH: 3 })).toThrow(/unknown constants: WIDTH/);
    expect(() => specialise(['rmsnorm', 'lib/norm_rms'], SIZES)).toThrow(/collide/);
  });

  it('every kernel declares exactly the bindings of its WGSL, for every shape and variant', () => {
    for (const kernel of KERNELS) {
      for (const variant of kernel.variants) {
        for (const { name, params } of [...kernel.shapes.test, ...kernel.shapes.bench]) {
          const { bindings, params: fields } = kernelWgsl(kernel, params, variant);
          const storage = bindings.filter((b) => b.access !== 'uniform').map((b) => b.name);
          expect(Object.keys(kernel.bindings(params)).sort(), `${kernel.name}: ${name}`).toEqual(
            storage.sort(),
          );
          expect(Object.keys(kernel.uniforms(params)).sort()).toEqual(fields.map((f) => f.name).sort());
          // Eight storage buffers per stage are what every adapter has; plans see to it that others have more.
          expect(storage.length, `${kernel.name}: ${name}`).toBeLessThanOrEqual(MORE[kernel.name] ?? 8);
        }
      }
    }
  });

  it('the build step stops on declarations it does not understand', () => {
    expect(() => describeWgsl('a.wgsl', '// --- specialised ---\nconst k = 3;\n')).toThrow(
      /not a specialisable constant/,
    );
    expect(() => describeWgsl('a.wgsl', '@group(0) @binding(0) var t: texture_2d<f32>;')).toThrow(
      /not a binding/,
    );
    expect(() => describeWgsl('a.wgsl', 'struct Params {\n  a: vec2<f32>,\n}')).toThrow(/may hold only/);
  });
});

/**
 * Turns WGSL sources into the text that is compiled: joins a kernel with the library files it names, replaces the
 * initialisers of its specialisable constants, and puts the needed directives first. There is no template language:
 * every file is WGSL as it stands.
 */
import { KernelError } from '../errors.ts';
import { WGSL, type WgslName } from './generated.ts';
import type { WgslBinding, WgslSource } from './source.ts';

/** Values for specialised constants. */
export type Constants = Readonly<Record<string, number | boolean>>;

/** Final WGSL with what it binds. */
export interface SpecialisedWgsl {
  readonly text: string;
  readonly bindings: readonly WgslBinding[];
  readonly params: WgslSource['params'];
}

/**
 * Joins `sources` (the kernel first, then its library files) and fixes their constants.
 *
 * Every specialisable constant of every source must be given, and every given one must exist.
 * `enables` are the extensions for `enable` directives, e.g. `subgroups`.
 *
 * @throws KernelError for a missing or unknown constant, or two bindings with one number or name.
 */
export function specialise(
  sources: readonly WgslName[],
  constants: Constants,
  enables: readonly string[] = [],
): SpecialisedWgsl {
  const kernel = sources[0];
  const unused = new Set(Object.keys(constants));
  const texts: string[] = enables.map((name) => `enable ${name};\n`);
  const bindings: WgslBinding[] = [];
  const params = sources.flatMap((name) => WGSL[name].params);
  for (const name of sources) {
    const source = WGSL[name];
    let text = source.text;
    for (const constant of source.constants) {
      const value = constants[constant];
      if (value === undefined)
        throw new KernelError(kernel, `no value for the constant ${constant} of ${name}.wgsl`);
      unused.delete(constant);
      text = text.replace(
        new RegExp(`^const ${constant}: (u32|f32|bool) = [^;]+;`, 'm'),
        (_, type: string) => `const ${constant}: ${type} = ${literal(type, value)};`,
      );
    }
    texts.push(text);
    for (const binding of source.bindings) {
      const clash = bindings.find((b) => b.index === binding.index || b.name === binding.name);
      if (clash !== undefined) {
        throw new KernelError(kernel, `bindings ${clash.name} and ${binding.name} of ${name}.wgsl collide`);
      }
      bindings.push(binding);
    }
  }
  if (unused.size > 0) throw new KernelError(kernel, `unknown constants: ${[...unused].join(', ')}`);
  return { text: texts.join('\n'), bindings, params };
}

function literal(type: string, value: number | boolean): string {
  if (type === 'bool' || typeof value === 'boolean') return String(Boolean(value));
  if (type === 'u32') return `${value}u`;
  return Number.isInteger(value) ? `${value}.0f` : `${value}f`;
}

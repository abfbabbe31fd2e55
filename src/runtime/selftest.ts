/** Checks the kernels of plans against their references on the adapter at hand, before it is trusted with a model. */
import type { ModelConfig } from '../config/index.ts';
import { KernelError } from '../errors.ts';
import { type AnyKernel, kernelWgsl, type Variant } from '../kernels/kernel.ts';
import { compare, expected, makeCase } from '../kernels/verify.ts';
import type { Plan } from '../model/plan.ts';
import { type PlanOptions, planPrefill } from '../model/plans.ts';
import { VERSION } from '../version.ts';
import type { GpuExecutor } from './gpu_executor.ts';
import { runKernel } from './run_kernel.ts';

/** Remembers which adapters have passed. */
export interface SelfTestStore {
  has(key: string): Promise<boolean>;
  add(key: string): Promise<void>;
}

/** What the text of a kernel depends on most: each of these is tested. */
const TRAITS = ['format', 'tile'] as const;

type Trait = (typeof TRAITS)[number];

/** Values of the traits; calls that have no such parameter have undefined. */
type Traits = Readonly<Record<Trait, Set<unknown>>>;

/** A kernel variant of plans, and the weight formats that it reads there and the tiles of tokens that it takes. */
interface Used {
  readonly kernel: AnyKernel;
  readonly variant: Variant;
  readonly traits: Traits;
}

/** Tokens of the largest plan that is tested: more have no other tiles. */
const MOST_TOKENS = 4096;

/**
 * Numbers of tokens, up to `most`, whose plans are to be tested beside that of a single one. With matrix units several tokens have
 * kernels of their own, and tiles of many sizes: between two that differ, there is a power of two.
 */
export function selfTestTokens(matrixUnits: boolean, most: number): number[] {
  if (!matrixUnits) return [];
  const last = Math.min(most, MOST_TOKENS);
  const found: number[] = [];
  for (let tokens = 2; tokens < last; tokens *= 2) found.push(tokens);
  return last > 1 ? [...found, last] : found;
}

/** Plans of chunks of a prompt, up to `most` tokens, whose kernels are to be tested beside those of a single token. */
export function selfTestPrompts(config: ModelConfig, planning: PlanOptions, most: number): Plan[] {
  const { caps, cache } = planning;
  return selfTestTokens(caps.matrixUnits, most).map((tokens) =>
    planPrefill(config, planning, tokens, Math.min(tokens, cache.maxContext), { kind: 'none' }),
  );
}

/**
 * Runs two of the test shapes of every kernel variant that `plans` use, and one more for each format of its weights and each
 * size of its tiles that these two do not have, unless this adapter has passed with the same kernels before.
 *
 * @throws KernelError saying which kernel gives what instead of what.
 */
export async function selfTest(
  executor: GpuExecutor,
  plans: readonly Plan[],
  store?: SelfTestStore,
): Promise<void> {
  const used = usedBy(plans);
  const key = selfTestKey(executor, used);
  if ((await store?.has(key)) === true) return;
  await Promise.all(used.map((one) => testVariant(executor, one)));
  await store?.add(key);
}

function usedBy(plans: readonly Plan[]): Used[] {
  const used = new Map<string, Used>();
  for (const { kernel, variant, params } of plans.flatMap(({ calls }) => calls)) {
    const name = `${kernel.name} ${variant.name}`;
    const one = used.get(name) ?? { kernel, variant, traits: { format: new Set(), tile: new Set() } };
    for (const trait of TRAITS) one.traits[trait].add(traitOf(params, trait));
    used.set(name, one);
  }
  return [...used.values()];
}

const traitOf = (params: unknown, trait: Trait): unknown => (params as Record<string, unknown>)[trait];

/** The shapes that are run: their texts stand for those of the plan. */
export function selfTestShapes(kernel: AnyKernel, traits: Traits): { name: string; params: unknown }[] {
  const all = kernel.shapes.test;
  const some = [all[0], all[Math.floor(all.length / 2)]];
  for (const trait of TRAITS) {
    for (const value of traits[trait]) {
      const has = ({ params }: { params: unknown }) => traitOf(params, trait) === value;
      const one = some.some(has) ? undefined : all.find(has);
      if (one !== undefined) some.push(one);
    }
  }
  return some;
}

async function testVariant(executor: GpuExecutor, { kernel, variant, traits }: Used): Promise<void> {
  for (const { name, params } of selfTestShapes(kernel, traits)) {
    const input = makeCase(kernel, params, 1);
    const got = await runKernel(executor.gpu, executor.pipelines, kernel, params, variant, input.bytes);
    const fault = compare(kernel, params, variant, input, expected(kernel, params, input), got);
    if (fault === undefined) continue;
    throw new KernelError(
      kernel.name,
      `self-test on ${executor.name}: variant ${variant.name}, shape '${name}': ${fault} (--no-self-test skips this)`,
      { variant: variant.name, shape: name },
    );
  }
}

/** Changes with the adapter, its driver as far as it shows, this version, and any kernel text. */
function selfTestKey(executor: GpuExecutor, used: readonly Used[]): string {
  const { info } = executor.gpu;
  let hash = 0x811c9dc5;
  for (const { kernel, variant, traits } of used) {
    for (const { params } of selfTestShapes(kernel, traits)) {
      for (const char of kernelWgsl(kernel, params, variant).text) {
        hash = Math.imul(hash ^ (char.codePointAt(0) ?? 0), 0x01000193) >>> 0;
      }
    }
  }
  return [VERSION, info.vendor, info.architecture, info.device, info.description, hash.toString(16)].join(
    '|',
  );
}

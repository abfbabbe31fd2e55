/** Checks the kernels of a plan against their references on the adapter at hand, before it is trusted with a model. */
import { KernelError } from '../errors.ts';
import { type AnyKernel, kernelWgsl, type Variant } from '../kernels/kernel.ts';
import { compare, expected, makeCase } from '../kernels/verify.ts';
import type { Plan } from '../model/plan.ts';
import { VERSION } from '../version.ts';
import type { GpuExecutor } from './gpu_executor.ts';
import { runKernel } from './run_kernel.ts';

/** Remembers which adapters have passed. */
export interface SelfTestStore {
  has(key: string): Promise<boolean>;
  add(key: string): Promise<void>;
}

/**
 * Runs two of the test shapes of every kernel variant that `plan` uses, unless this adapter has passed with the same
 * kernels before.
 *
 * @throws KernelError saying which kernel gives what instead of what.
 */
export async function selfTest(executor: GpuExecutor, plan: Plan, store?: SelfTestStore): Promise<void> {
  const used = new Map<string, { kernel: AnyKernel; variant: Variant }>();
  for (const { kernel, variant } of plan.calls)
    used.set(`${kernel.name} ${variant.name}`, { kernel, variant });
  const key = selfTestKey(executor, [...used.values()]);
  if ((await store?.has(key)) === true) return;
  await Promise.all([...used.values()].map(({ kernel, variant }) => testVariant(executor, kernel, variant)));
  await store?.add(key);
}

function someShapes(kernel: AnyKernel): { name: string; params: unknown }[] {
  const shapes = kernel.shapes.test;
  return [shapes[0], shapes[Math.floor(shapes.length / 2)]];
}

async function testVariant(executor: GpuExecutor, kernel: AnyKernel, variant: Variant): Promise<void> {
  for (const { name, params } of someShapes(kernel)) {
    const input = makeCase(kernel, params, 1);
    const got = await runKernel(executor.gpu, executor.pipelines, kernel, params, variant, input.bytes);
    const fault = compare(kernel, params, input, expected(kernel, params, input), got);
    if (fault === undefined) continue;
    throw new KernelError(
      kernel.name,
      `self-test on ${executor.name}: variant ${variant.name}, shape '${name}': ${fault} (--no-self-test skips this)`,
      { variant: variant.name, shape: name },
    );
  }
}

/** Changes with the adapter, its driver as far as it shows, this version, and any kernel text. */
function selfTestKey(
  executor: GpuExecutor,
  used: readonly { kernel: AnyKernel; variant: Variant }[],
): string {
  const { info } = executor.gpu;
  let hash = 0x811c9dc5;
  for (const { kernel, variant } of used) {
    for (const { params } of someShapes(kernel)) {
      for (const char of kernelWgsl(kernel, params, variant).text) {
        hash = Math.imul(hash ^ (char.codePointAt(0) ?? 0), 0x01000193) >>> 0;
      }
    }
  }
  return [VERSION, info.vendor, info.architecture, info.device, info.description, hash.toString(16)].join(
    '|',
  );
}

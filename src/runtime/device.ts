/**
 * The one place that opens a GPU: adapter choice, features and limits, Dawn's toggles, uncaptured errors, device loss.
 * In browsers it uses `navigator.gpu`; in Node the `webgpu` package (Dawn).
 */
import { DeviceError, DeviceLostError } from '../errors.ts';
import type { Capabilities } from '../kernels/kernel.ts';

/** How to choose and open an adapter. */
export interface DeviceOptions {
  /** Part of the adapter's name, as {@link listAdapters} prints it; the first adapter when absent. Node only. */
  readonly adapter?: string | undefined;
  /** Pretend that the adapter has no optional feature and only default limits: the base kernels run. */
  readonly baseline?: boolean | undefined;
  /** Leave out the bounds checks of Dawn's shader compiler. A faulty kernel may then read or write anything. Node only. */
  readonly unsafeFast?: boolean | undefined;
  /** Use at most this many bytes per binding, as on a smaller adapter. */
  readonly maxBindingBytes?: number | undefined;
}

/**
 * Dawn's toggles (Node only). Robustness and validation stay on. 64-bit timestamps are only useful unrounded;
 * `allow_unsafe_apis` gives `timestamp-query`, `subgroups` and subgroup matrices on drivers where Dawn still calls them
 * experimental, `vulkan_enable_f16_on_nvidia` gives `shader-f16` there.
 */
const DAWN_ENABLED = ['allow_unsafe_apis', 'vulkan_enable_f16_on_nvidia'] as const;
const DAWN_DISABLED = ['timestamp_quantization'] as const;

/** Dawn's toggles without the bounds checks that its compiler adds to shaders, for {@link DeviceOptions.unsafeFast}. */
const DAWN_UNCHECKED = ['disable_robustness'] as const;

/** An open device with what the rest of the runtime must know of it. */
export interface Gpu {
  readonly device: GPUDevice;
  readonly name: string;
  readonly info: AdapterCard;
  readonly caps: Capabilities;
  readonly timestamps: boolean;
  /** Whether the thread rests while it waits for the device: see `patience.ts`. */
  readonly rests: boolean;
  /** Throws what the device reported since the last call: DeviceLostError, or DeviceError with Dawn's own text. */
  check(): void;
  /** Resolves when the device is lost, including by {@link Gpu.dispose}. */
  readonly lost: Promise<DeviceLostError>;
  dispose(): void;
}

/** Facts of an adapter for people. */
export interface AdapterCard {
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  readonly description: string;
  readonly features: readonly string[];
  readonly limits: Readonly<Record<string, number>>;
  readonly subgroupMinSize: number;
  readonly subgroupMaxSize: number;
  /** Products of subgroup matrices, as `MxNxK component-type result-type`. */
  readonly matrixProducts: readonly string[];
}

/** What Dawn adds to GPUAdapterInfo for subgroup matrices; not yet in the WebGPU types. */
interface SubgroupMatrixConfig {
  readonly componentType: string;
  readonly resultComponentType: string;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

const WANTED_FEATURES = [
  'subgroups',
  'timestamp-query',
  'shader-f16',
  'chromium-experimental-subgroup-matrix',
] as const;
const WANTED_LIMITS = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxComputeWorkgroupStorageSize',
  'maxStorageBuffersPerShaderStage',
] as const;

/** Workgroup memory that the matrix kernels need. */
const MATRIX_WORKGROUP_BYTES = 48 * 1024;

/** Keeps Dawn's GPU objects alive: collecting one while its devices live ends the process. */
const instances: GPU[] = [];

async function gpuInstance(adapter: string | undefined, unsafeFast = false): Promise<GPU> {
  if (typeof navigator !== 'undefined' && navigator.gpu !== undefined) return navigator.gpu;
  if (typeof process === 'undefined' || process.versions?.node === undefined) {
    throw new DeviceError('this browser has no WebGPU (navigator.gpu is missing)');
  }
  let dawn: typeof import('webgpu');
  try {
    dawn = await import('webgpu');
  } catch (cause) {
    throw new DeviceError(
      "the npm package 'webgpu' (Dawn) is not installed or has no binary for this platform",
      {},
      { cause },
    );
  }
  Object.assign(globalThis, dawn.globals);
  const enabled = [...DAWN_ENABLED, ...(unsafeFast ? DAWN_UNCHECKED : [])];
  const options = [
    `enable-dawn-features=${enabled.join(',')}`,
    `disable-dawn-features=${DAWN_DISABLED.join(',')}`,
  ];
  if (adapter !== undefined) options.push(`adapter=${adapter}`);
  const gpu = dawn.create(options);
  instances.push(gpu);
  return gpu;
}

/**
 * Opens a device.
 *
 * @throws DeviceError when there is no adapter, it is a null one, or the device cannot be made.
 */
export async function openDevice(options: DeviceOptions = {}): Promise<Gpu> {
  const gpu = await gpuInstance(options.adapter, options.unsafeFast);
  const adapter = await requestAdapter(gpu, options.adapter);
  const info = card(adapter);
  if (/^null/i.test(info.architecture) || /\bnull\b/i.test(info.description)) {
    throw new DeviceError(`the adapter is a null device, which computes nothing: ${info.description}`, {
      info,
    });
  }
  const baseline = options.baseline === true;
  const features = WANTED_FEATURES.filter(
    (f) => adapter.features.has(f) && (!baseline || f === 'timestamp-query'),
  );
  const limits: Record<string, number> = {};
  if (!baseline) for (const name of WANTED_LIMITS) limits[name] = adapter.limits[name];
  const device = await adapter.requestDevice({
    label: 'step3',
    requiredFeatures: features as unknown as GPUFeatureName[],
    requiredLimits: limits,
  });
  // A browser's driver is in a process of its own.
  const software = adapter.info.isFallbackAdapter === true && gpu !== globalThis.navigator?.gpu;
  const rests = software && process.env.STEP3_REST === '1';
  return wrap(gpu, device, info, features, rests, options.maxBindingBytes ?? Number.POSITIVE_INFINITY);
}

function wrap(
  gpu: GPU,
  device: GPUDevice,
  info: AdapterCard,
  features: readonly string[],
  rests: boolean,
  maxBindingBytes: number,
): Gpu {
  let failure: DeviceError | DeviceLostError | undefined;
  device.onuncapturederror = (event) => {
    failure ??= new DeviceError(`the device reported: ${oneLine(event.error.message)}`);
  };
  const lost = device.lost.then((loss) => {
    const error = new DeviceLostError(loss.reason, oneLine(loss.message));
    failure = error;
    return error;
  });
  const language = gpu.wgslLanguageFeatures;
  const caps: Capabilities = {
    // The subgroup kernels number their subgroups, which is a language feature of its own.
    subgroups: features.includes('subgroups') && language.has('subgroup_id'),
    subgroupMinSize: info.subgroupMinSize,
    subgroupMaxSize: info.subgroupMaxSize,
    matrixUnits: hasMatrixUnits(info, features, language, device.limits),
    packedDots: language.has('packed_4x8_integer_dot_product'),
    maxStorageBuffers: device.limits.maxStorageBuffersPerShaderStage,
    shaderF16: features.includes('shader-f16'),
    maxBindingBytes: Math.min(
      device.limits.maxStorageBufferBindingSize,
      device.limits.maxBufferSize,
      maxBindingBytes,
    ),
    maxWorkgroups: device.limits.maxComputeWorkgroupsPerDimension,
  };
  return {
    device,
    name: info.description || `${info.vendor} ${info.architecture}`,
    info,
    caps,
    timestamps: features.includes('timestamp-query'),
    rests,
    lost,
    check() {
      const error = failure;
      if (error === undefined) return;
      if (error instanceof DeviceError) failure = undefined;
      throw error;
    },
    dispose() {
      device.destroy();
    },
  };
}

/** See {@link Capabilities.matrixUnits}. */
function hasMatrixUnits(
  info: AdapterCard,
  features: readonly string[],
  language: WGSLLanguageFeatures,
  limits: GPUSupportedLimits,
): boolean {
  const needed = ['shader-f16', 'subgroups', 'chromium-experimental-subgroup-matrix'];
  return (
    needed.every((feature) => features.includes(feature)) &&
    language.has('subgroup_id') &&
    info.subgroupMinSize === 32 &&
    info.subgroupMaxSize === 32 &&
    info.matrixProducts.includes('16x16x16 f16 f32') &&
    limits.maxComputeWorkgroupStorageSize >= MATRIX_WORKGROUP_BYTES
  );
}

async function requestAdapter(gpu: GPU, name: string | undefined): Promise<GPUAdapter> {
  let adapter: GPUAdapter | null = null;
  let cause: unknown;
  try {
    adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  } catch (error) {
    cause = error;
  }
  if (adapter !== null) return adapter;
  const detail = cause instanceof Error ? `: ${oneLine(cause.message)}` : '';
  const which = name === undefined ? 'no WebGPU adapter found' : `no adapter matches ${JSON.stringify(name)}`;
  throw new DeviceError(`${which}${detail} (see: step3 doctor)`, { adapter: name }, { cause });
}

/**
 * Names of the adapters that Dawn sees (Node), or of the browser's default one. Empty when there is none.
 *
 * @throws DeviceError when WebGPU itself is missing.
 */
export async function listAdapters(): Promise<string[]> {
  if (typeof navigator !== 'undefined' && navigator.gpu !== undefined) {
    const adapter = await navigator.gpu.requestAdapter();
    return adapter === null ? [] : [card(adapter).description];
  }
  // Dawn lists what it has when asked for an adapter that cannot exist.
  const gpu = await gpuInstance('no adapter has this name');
  try {
    await gpu.requestAdapter();
    return [];
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    return [...text.matchAll(/backend: '(\w+)', name: '([^']*)'/g)]
      .filter((match) => match[1] !== 'null')
      .map((match) => match[2]);
  }
}

function card(adapter: GPUAdapter): AdapterCard {
  const info = adapter.info;
  const limits: Record<string, number> = {};
  for (const key in adapter.limits) {
    const value = adapter.limits[key as keyof GPUSupportedLimits];
    if (typeof value === 'number') limits[key] = value;
  }
  return {
    vendor: info.vendor,
    architecture: info.architecture,
    device: info.device,
    description: info.description,
    features: [...adapter.features].sort(),
    limits,
    subgroupMinSize: info.subgroupMinSize ?? 0,
    subgroupMaxSize: info.subgroupMaxSize ?? 0,
    matrixProducts: [
      ...((info as { subgroupMatrixConfigs?: Iterable<SubgroupMatrixConfig> }).subgroupMatrixConfigs ?? []),
    ].map((c) => `${c.M}x${c.N}x${c.K} ${c.componentType} ${c.resultComponentType}`),
  };
}

/** Dawn's messages run over several lines; errors here stay on one. */
function oneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, ' | ').trim();
}

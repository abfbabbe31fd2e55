/** `step3 doctor`: what the machine offers, and what is missing. */
import { Command } from 'commander';
import { DeviceError } from '../errors.ts';
import { type Gpu, listAdapters, openDevice } from '../runtime/device.ts';
import { VERSION } from '../version.ts';
import { EXIT } from './errors.ts';
import { formatBytes, table } from './figures.ts';
import { type CommonFlags, commonOptions } from './options.ts';

interface DoctorFlags extends CommonFlags {
  readonly list?: true;
  readonly adapter?: string;
}

/** How to get an adapter without a graphics card. */
const ADVICE = [
  'A GPU needs its own Vulkan driver (Linux), Metal (macOS) or Direct3D 12 (Windows).',
  'Without a GPU, Mesa has a software driver, lavapipe: on Debian 12 as root, npm run setup installs it',
  '(the packages mesa-vulkan-drivers and libvulkan1 from bookworm-backports; the one in Debian 12 itself is too old).',
  'Without any adapter, --device cpu runs the slow interpreter.',
];

const MIB = 1024 * 1024;

/** The command's definition. */
export function doctorCommand(): Command {
  const command = new Command('doctor')
    .description('Adapters, their features and limits, and what a missing one costs.')
    .option('--list', 'only the names of the adapters, one a line')
    .option('--adapter <name>', 'look at the adapter with this in its name');
  return commonOptions(command).addHelpText('after', '\nExample:\n  step3 doctor').action(run);
}

async function run(flags: DoctorFlags): Promise<void> {
  const { adapters, reason } = await findAdapters();
  if (flags.list === true) {
    write(flags, { adapters }, adapters.map((name) => `${name}\n`).join(''));
    if (adapters.length === 0) process.exitCode = EXIT.device;
    return;
  }
  if (adapters.length === 0) {
    write(flags, { adapters, reason, advice: ADVICE }, `${reason}\n${ADVICE.join('\n')}\n`);
    process.exitCode = EXIT.device;
    return;
  }
  const gpu = await openDevice({ adapter: flags.adapter });
  try {
    const missing = whatIsMissing(gpu);
    const json = {
      version: VERSION,
      node: process.version,
      adapters,
      adapter: gpu.info,
      capabilities: gpu.caps,
      missing,
    };
    write(flags, json, cardText(gpu, adapters, missing));
  } finally {
    gpu.dispose();
  }
}

async function findAdapters(): Promise<{ adapters: string[]; reason: string }> {
  try {
    return { adapters: await listAdapters(), reason: 'no WebGPU adapter found' };
  } catch (error) {
    if (error instanceof DeviceError) return { adapters: [], reason: error.message };
    throw error;
  }
}

/** What this adapter lacks, each with its cost. */
function whatIsMissing({ caps, timestamps, info }: Gpu): string[] {
  const missing: string[] = [];
  if (!caps.subgroups) {
    missing.push('subgroups: sums go through workgroup memory, so that products of a few rows are slower');
  }
  if (!timestamps) missing.push('timestamp-query: kernels can only be timed from outside, one by one');
  if (caps.maxBindingBytes <= 128 * MIB) {
    missing.push(
      `large bindings: one holds ${formatBytes(caps.maxBindingBytes)}, so that larger tensors are split over buffers and dispatches`,
    );
  }
  if (/llvmpipe|swiftshader/i.test(`${info.description} ${info.architecture} ${info.device}`)) {
    missing.push('hardware: this is a software driver, right but slow');
  }
  return missing;
}

function cardText(gpu: Gpu, adapters: readonly string[], missing: readonly string[]): string {
  const { caps, info } = gpu;
  const subgroups = caps.subgroups ? `yes, of ${caps.subgroupMinSize} to ${caps.subgroupMaxSize}` : 'no';
  return [
    table([
      ['step3', `${VERSION} on Node ${process.version}, ${process.platform} ${process.arch}`],
      ['adapters', adapters.join('; ')],
      ['looked at', gpu.name],
      ['vendor', `${info.vendor} ${info.architecture}`],
      ['subgroups', subgroups],
      ['timestamps', gpu.timestamps ? 'yes' : 'no'],
      ['largest buffer', formatBytes(info.limits.maxBufferSize)],
      ['largest binding', formatBytes(caps.maxBindingBytes)],
      ['storage buffers', `${caps.maxStorageBuffers} in a kernel`],
      ['features', info.features.join(', ')],
    ]),
    missing.length === 0 ? 'nothing is missing\n' : `missing:\n${missing.map((m) => `  ${m}\n`).join('')}`,
  ].join('');
}

function write(flags: CommonFlags, json: object, text: string): void {
  process.stdout.write(flags.json === true ? `${JSON.stringify(json)}\n` : text);
}

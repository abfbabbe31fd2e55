/** `step3 calibrate`: measures the adapter for predictions. */
import { Command, InvalidArgumentError } from 'commander';
import { calibrate } from '../bench/calibrate.ts';
import { type BandwidthPoint, type Calibration, calibrationNotes, type Spread } from '../cost/calibration.ts';
import { COMPRESSED_FORMATS } from '../formats/index.ts';
import { openDevice } from '../runtime/device.ts';
import type { WeightFormat } from '../tensor.ts';
import { columns, digits } from './bench_report.ts';
import { calibrationFile, writeCalibration } from './calibration_store.ts';
import { formatBytes, table } from './figures.ts';
import { type CommonFlags, commonOptions, integer } from './options.ts';
import { explainWait, progress } from './progress.ts';

interface CalibrateFlags extends CommonFlags {
  readonly adapter?: string;
  readonly output?: string;
  readonly unsafeFast?: true;
  readonly maxMib?: number;
  readonly formats?: readonly WeightFormat[];
  readonly filter?: string;
}

/** Formats of weights that may be probed beside 16-bit ones. */
const FORMATS: readonly string[] = COMPRESSED_FORMATS;

/** Parses names of formats, separated by commas. */
function formatNames(text: string): WeightFormat[] {
  const names = text.split(',').map((name) => name.trim());
  for (const name of names) {
    if (!FORMATS.includes(name))
      throw new InvalidArgumentError(`Expected some of ${FORMATS.join(', ')}, got ${name}.`);
  }
  return names as WeightFormat[];
}

/** The command's definition. */
export function calibrateCommand(): Command {
  const command = new Command('calibrate')
    .description('Measure the adapter with short probes, so that validate and run can predict decoding.')
    .option('--output <file>', "write here instead of the user's cache folder, where run and validate look")
    .option('--adapter <name>', 'part of an adapter name, see: step3 doctor --list')
    .option('--unsafe-fast', "without the bounds checks of Dawn's shader compiler; stored on its own")
    .option(
      '--max-mib <n>',
      'read buffers of at most so many MiB (default: by the speed of memory)',
      integer(1),
    )
    .option(
      '--formats <list>',
      `also probe kernels of compressed weights: ${FORMATS.join(', ')}, separated by commas`,
      formatNames,
    )
    .option('--filter <text>', 'only kernel probes with this in their kernel or shape; for trying out');
  return commonOptions(command)
    .addHelpText(
      'after',
      `
Measures bandwidth by size, arithmetic, the times of dispatches, barriers, passes and submits, and every kernel family
at shapes that no preset has; then fits each family's law. Takes about three minutes.

Example:
  step3 calibrate --formats q8_0,q4_k && step3 validate --model step3-small`,
    )
    .action(run);
}

async function run(flags: CalibrateFlags): Promise<void> {
  const gpu = await openDevice({ adapter: flags.adapter, unsafeFast: flags.unsafeFast });
  const bar = progress('calibrating', flags.json === true);
  const wait = explainWait('compiling kernels: a software driver takes a while', flags.json === true);
  try {
    const boundsChecks = flags.unsafeFast !== true;
    const wanted = flags.filter?.toLowerCase() ?? '';
    const calibration = await calibrate(gpu, {
      boundsChecks,
      ...(flags.formats === undefined ? {} : { formats: flags.formats }),
      ...(flags.maxMib === undefined ? {} : { maxBytes: flags.maxMib * 1024 ** 2 }),
      filter: ({ kernel, shape }) => `${kernel.name} ${shape}`.toLowerCase().includes(wanted),
      onProgress(_, done, total) {
        if (done > 0) wait.stop();
        bar.update(done, total);
      },
    });
    bar.stop();
    const file = flags.output ?? calibrationFile(gpu, boundsChecks);
    await writeCalibration(file, calibration);
    if (flags.json === true) process.stdout.write(`${JSON.stringify({ file, ...calibration })}\n`);
    else process.stdout.write(`${calibrationText(calibration)}\n${table([['written to', file]])}`);
  } finally {
    wait.stop();
    bar.stop();
    gpu.dispose();
  }
}

/** A calibration for people. */
function calibrationText(c: Calibration): string {
  const spread = ({ median, p10, p90 }: Spread) => `${digits(median)} (${digits(p10)}..${digits(p90)})`;
  const rate = (value: Spread | null) => (value === null ? 'none' : `${spread(value)} TFLOP/s`);
  const { adapter } = c;
  return [
    table([
      ['adapter', adapter.device === '' ? adapter.description : `${adapter.device}, ${adapter.description}`],
      [
        'clock',
        `${c.clock === 'gpu' ? 'GPU timestamps' : 'the wall clock'} in steps of ${digits(c.timer_ns)} ns`,
      ],
      ['f32 multiply-add', rate(c.fma_tflops)],
      ['f16 multiply-add', rate(c.fma_f16_tflops)],
      ['f16 matrix units', rate(c.matrix_tflops)],
      ['compute units', `${c.units} workgroups of 256 side by side`],
      ['dependent dispatch', `${spread(c.dispatch_us)} us`],
      ['independent dispatch', `${spread(c.independent_us)} us`],
      ['barrier', `${digits(Math.max(0, c.dispatch_us.median - c.independent_us.median))} us`],
      ['a pass', `${spread(c.pass_us)} us beside its dispatches`],
      ['submit and readback', `${spread(c.round_trip_us)} us`],
      ['between steps', `${spread(c.gap_us)} us`],
      ['host', `${spread(c.host_step_us)} us a step, ${spread(c.host_dispatch_us)} us a dispatch`],
      ['took', `${c.seconds.toFixed(0)} s`],
      ...calibrationNotes(c).map((note): [string, string] => ['note', note]),
    ]),
    '\n',
    columns(
      ['buffer', 'read GB/s', 'p10..p90', 'write GB/s'],
      c.read.map((point) => [
        formatBytes(point.bytes),
        digits(point.median),
        `${digits(point.p10)}..${digits(point.p90)}`,
        writeAt(c.write, point.bytes),
      ]),
      1,
    ),
    '\n',
    columns(
      [
        'family',
        'probes',
        'launch us',
        'bandwidth %',
        'arithmetic %',
        'workgroup us',
        'iteration us',
        'fit %',
        'p90 %',
      ],
      Object.entries(c.families).map(([name, { law, probes, error_median, error_p90 }]) => [
        name,
        String(probes.length),
        digits(law.launch),
        (law.bandwidth * 100).toFixed(0),
        (law.arithmetic * 100).toFixed(0),
        digits(law.workgroup),
        digits(law.iteration),
        (error_median * 100).toFixed(1),
        (error_p90 * 100).toFixed(1),
      ]),
      1,
    ),
  ].join('');
}

function writeAt(points: readonly BandwidthPoint[], bytes: number): string {
  const point = points.find((p) => p.bytes === bytes);
  return point === undefined ? '' : digits(point.median);
}

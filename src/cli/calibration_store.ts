/** Where calibrations lie: one file per adapter, driver and setting of the bounds checks. */
import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { type Calibration, parseCalibration } from '../cost/calibration.ts';
import { ConfigError, InputError } from '../errors.ts';
import type { Gpu } from '../runtime/device.ts';

/** What tells one adapter from another. */
type Identity = Pick<
  Calibration['adapter'],
  'vendor' | 'architecture' | 'device' | 'description' | 'bounds_checks'
>;

/** `$XDG_CACHE_HOME/step3-webgpu/calibration` (or `~/.cache`), and the adapter's name in the file's. */
export function calibrationFile(gpu: Pick<Gpu, 'info'>, boundsChecks: boolean): string {
  const { vendor, architecture, device, description } = gpu.info;
  const identity = [vendor, architecture, device, description, boundsChecks ? '' : 'unchecked'];
  const hash = createHash('sha256').update(JSON.stringify(identity)).digest('hex').slice(0, 8);
  const readable = (device || description || vendor)
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, 40);
  const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache');
  return join(cache, 'step3-webgpu', 'calibration', `${readable}-${hash}.json`);
}

/**
 * Reads a calibration file.
 *
 * @throws ConfigError naming file and field when it is no calibration; what the file system says.
 */
export async function readCalibration(file: string): Promise<Calibration> {
  const text = await readFile(file, 'utf8');
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new ConfigError('calibration', 'JSON', text.slice(0, 80), file);
  }
  return parseCalibration(json, file);
}

/**
 * The adapter's calibration in the cache folder, or undefined when there is none.
 *
 * @throws ConfigError when there is a file, but no calibration in it.
 */
export async function storedCalibration(
  gpu: Pick<Gpu, 'info'>,
  boundsChecks: boolean,
): Promise<Calibration | undefined> {
  try {
    return await readCalibration(calibrationFile(gpu, boundsChecks));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * The calibration that was `given`, or the adapter's own in the cache folder; undefined when it has none.
 *
 * @throws InputError when it is another adapter's; what {@link storedCalibration} throws.
 */
export async function calibrationFor(
  gpu: Pick<Gpu, 'info'>,
  boundsChecks: boolean,
  given: Calibration | undefined,
): Promise<Calibration | undefined> {
  const found = given ?? (await storedCalibration(gpu, boundsChecks));
  const difference = found === undefined ? undefined : foreign(found, gpu, boundsChecks);
  if (difference === undefined) return found;
  throw new InputError('calibration', 'one of this adapter, driver and bounds checks', difference);
}

/** What is said where an adapter has no calibration. */
export const notCalibrated = (boundsChecks: boolean): string =>
  `this adapter is not calibrated: step3 calibrate${boundsChecks ? '' : ' --unsafe-fast'}`;

/** Writes a calibration, with its folders. */
export async function writeCalibration(file: string, calibration: Calibration): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  const part = `${file}.${process.pid}`;
  await writeFile(part, `${JSON.stringify(calibration, rounded, 1)}\n`);
  await rename(part, file);
}

/** For JSON.stringify: six digits are more than any measurement is good for; counts stay whole. */
export function rounded(_: string, value: unknown): unknown {
  return typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(6)) : value;
}

/**
 * Says that a calibration is not of this adapter, or undefined when it is.
 */
function foreign(
  calibration: Calibration,
  gpu: Pick<Gpu, 'info'>,
  boundsChecks: boolean,
): string | undefined {
  const { vendor, architecture, device, description } = gpu.info;
  const own: Identity = { vendor, architecture, device, description, bounds_checks: boundsChecks };
  const name = (Object.keys(own) as (keyof Identity)[]).find((key) => calibration.adapter[key] !== own[key]);
  return name === undefined
    ? undefined
    : `${name}: ${String(calibration.adapter[name])}, not ${String(own[name])}`;
}

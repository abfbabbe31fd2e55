/**
 * The time of a kernel call: a fixed part, and the larger of what memory, the compute units and the chain of dependent
 * iterations take, joined as the root of their squares, since they overlap but not fully.
 */
import { bandwidthAt, type Calibration, missShare } from './calibration.ts';
import type { Work } from './work.ts';

/** Parameters of a family, fitted on calls at probe shapes. */
export interface Law {
  /** Microseconds that any dispatch takes beside its work: with code and weights from memory, code from cache, or both. */
  readonly launch: number;
  readonly launchWarm: number;
  readonly launchCached: number;
  /** Share of the bandwidth of plain reads and writes. */
  readonly bandwidth: number;
  /** Share of the arithmetic rate, on full tiles. */
  readonly arithmetic: number;
  /** Microseconds that a workgroup keeps a compute unit busy beside its FLOPs. */
  readonly workgroup: number;
  /** Microseconds of an iteration that waits for the one before, from memory and from cache. */
  readonly iteration: number;
  readonly iterationCached: number;
}

/** What bounds a call. */
export type Bound = 'launch' | 'memory' | 'compute' | 'latency';

/** The parts of a call's time, in microseconds. */
export interface Terms {
  readonly launch: number;
  readonly memory: number;
  /** FLOPs and workgroups, in whole waves over the compute units. */
  readonly compute: number;
  readonly latency: number;
}

/** What the law needs of an adapter. */
export type Machine = Pick<Calibration, 'read' | 'write' | 'units' | 'fma_tflops' | 'matrix_tflops'>;

/** Bytes that the device touches between two uses of the same weights, and between two of the same code. */
export interface Distances {
  readonly weights: number;
  readonly code: number;
}

/** The parts of a call's time. */
export function termsOf(law: Law, work: Work, machine: Machine, { weights, code }: Distances): Terms {
  const miss = missShare(machine.read, weights);
  const rate = (work.units === 'matrix' ? machine.matrix_tflops : machine.fma_tflops) ?? machine.fma_tflops;
  const waves = Math.ceil(work.workgroups / machine.units - 1e-9);
  const memory =
    work.streamed / bandwidthAt(machine.read, weights) +
    work.near / bandwidthAt(machine.read, work.near) +
    work.cost.bytesWritten / bandwidthAt(machine.write, work.cost.bytesWritten);
  const mix = (cached: number, cold: number) => cached + (cold - cached) * miss;
  return {
    launch:
      mix(law.launchCached, law.launchWarm) + (law.launch - law.launchWarm) * missShare(machine.read, code),
    memory: memory / law.bandwidth,
    compute:
      waves * ((machine.units * work.groupFlops) / (rate.median * 1e6) / law.arithmetic + law.workgroup),
    latency: work.depth * mix(law.iterationCached, law.iteration),
  };
}

/** Microseconds of a call. */
export function timeOf({ launch, memory, compute, latency }: Terms): number {
  return launch + Math.hypot(memory, compute, latency);
}

/** The largest part. */
export function boundOf(terms: Terms): Bound {
  const parts = Object.entries(terms) as [Bound, number][];
  return parts.reduce((most, part) => (part[1] > most[1] ? part : most))[0];
}

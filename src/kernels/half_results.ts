/** Results that only matrix units read: binary16 from where they are made, so that no call has to convert them. */
/** Largest finite binary16. */
const F16_MAX = 65504;

export interface HalfResults {
  /** Whether results are stored as binary16; those beyond its range become its largest. */
  readonly half?: boolean | undefined;
}

/** Type of the buffer of results. */
export function resultType({ half }: HalfResults): 'f16' | 'f32' {
  return half === true ? 'f16' : 'f32';
}

/** Bytes of a result. */
export function resultBytes({ half }: HalfResults): number {
  return half === true ? 2 : 4;
}

/** A value within the range of binary16, so that one outlier does not turn a whole result into infinity. */
export function withinHalf(value: number): number {
  return Math.max(-F16_MAX, Math.min(F16_MAX, value));
}

/** A result as it is stored, but for rounding. */
export function stored({ half }: HalfResults, value: number): number {
  return half === true ? withinHalf(value) : value;
}

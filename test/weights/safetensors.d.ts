/** The part of the untyped npm package that the cross-check uses. */
declare module 'safetensors' {
  export class SafeTensor {
    constructor(file: Uint8Array);
    readonly metadata: Map<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;
    getTensor(name: string): Uint8Array;
  }
}

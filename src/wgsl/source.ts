/** What the host knows of one .wgsl file; filled in by scripts/embed.mjs. */
export interface WgslSource {
  readonly name: string;
  readonly text: string;
  /** Names of the `const`s under `// --- specialised ---`, whose initialisers may be replaced. */
  readonly constants: readonly string[];
  readonly bindings: readonly WgslBinding[];
  /** Fields of `struct Params` in order; every field takes four bytes. */
  readonly params: readonly { readonly name: string; readonly type: string }[];
}

/** One `@group(0) @binding(index) var<access> name: type;` line. */
export interface WgslBinding {
  readonly index: number;
  readonly access: string;
  readonly name: string;
  readonly type: string;
}

/** Checkpoints that are wrong on purpose: each must end in a typed error that names the file, tensor or field. */
import { describe, it } from 'vitest';
import { ConfigError, WeightError } from '../../src/errors.ts';
import type { DType } from '../../src/tensor.ts';
import { openCheckpoint } from '../../src/weights/checkpoint.ts';
import { encodeSafetensors } from '../../src/weights/safetensors.ts';
import { memorySource } from '../../src/weights/source.ts';
import { expectError, type MemoryTensor, text, tinyFiles, tinyTensors } from './support.ts';

const INDEX = 'model.safetensors.index.json';
const NORM = 'model.norm.weight';

/** The tiny checkpoint with one tensor changed. */
const changed = (name: string, change: Partial<MemoryTensor>) =>
  tinyFiles({
    tensors: (all) => all.map((tensor) => (tensor.name === name ? { ...tensor, ...change } : tensor)),
  });

/** The tiny checkpoint in the shards a (the first tensor) and b (the rest), with an index that may be changed. */
async function sharded(
  change: (weightMap: Record<string, unknown>, tensors: MemoryTensor[]) => void,
  shards: (tensors: MemoryTensor[]) => [MemoryTensor[], MemoryTensor[]] = (all) => [
    all.slice(0, 1),
    all.slice(1),
  ],
): Promise<Map<string, Uint8Array>> {
  const tensors = await tinyTensors();
  const weight_map: Record<string, unknown> = {};
  for (const [i, { name }] of tensors.entries())
    weight_map[name] = i === 0 ? 'a.safetensors' : 'b.safetensors';
  change(weight_map, tensors);
  const [a, b] = shards(tensors);
  return tinyFiles({
    files: {
      'model.safetensors': undefined,
      [INDEX]: text({ weight_map }),
      'a.safetensors': encodeSafetensors(a),
      'b.safetensors': encodeSafetensors(b),
    },
  });
}

const withIndex = (index: unknown) => tinyFiles({ files: { [INDEX]: text(index) } });
const extra =
  (name: string, dtype: DType = 'BF16') =>
  (all: MemoryTensor[]) => [...all, { name, dtype, shape: [0], bytes: new Uint8Array(0) }];

type Files = Promise<Map<string, Uint8Array>>;
type CheckpointCase = readonly [string, () => Files, typeof ConfigError | typeof WeightError, ...string[]];

const CHECKPOINTS: readonly CheckpointCase[] = [
  ['an empty folder', async () => new Map(), WeightError, 'config.json', 'no such file'],
  [
    'no weights',
    () => tinyFiles({ files: { 'model.safetensors': undefined } }),
    WeightError,
    'model.safetensors',
    INDEX,
  ],
  [
    'an empty config.json',
    () => tinyFiles({ files: { 'config.json': text('') } }),
    ConfigError,
    'config.json',
    'JSON',
  ],
  [
    'a config.json cut short',
    () => tinyFiles({ files: { 'config.json': text('{"a":') } }),
    ConfigError,
    'config.json',
  ],
  [
    'a config.json that is not UTF-8',
    () => tinyFiles({ files: { 'config.json': Uint8Array.of(0xff, 0xfe) } }),
    WeightError,
    'config.json',
    'UTF-8',
  ],
  [
    'a config.json nested 5 million deep',
    () => tinyFiles({ files: { 'config.json': new Uint8Array(5e6).fill(0x5b) } }),
    ConfigError,
    'config.json',
    'nested',
  ],
  [
    'a config.json with a field twice',
    () => tinyFiles({ files: { 'config.json': text('{"head_dim":32,"head_dim":64}') } }),
    ConfigError,
    'config.json',
    'the key head_dim twice',
  ],
  [
    'another configuration',
    () => tinyFiles({ config: { hidden_size: 64 } }),
    WeightError,
    '[320,64]',
    '[320,56]',
  ],
  [
    'more layers than the file',
    () => tinyFiles({ config: { num_hidden_layers: 5 } }),
    WeightError,
    'layers.4',
    'others',
  ],
  [
    'fewer layers than the file',
    () => tinyFiles({ config: { num_hidden_layers: 3 } }),
    WeightError,
    'layers.3',
  ],
  [
    'a missing tensor',
    () => tinyFiles({ tensors: (all) => all.filter(({ name }) => name !== NORM) }),
    WeightError,
    NORM,
  ],
  [
    'an extra tensor',
    () => tinyFiles({ tensors: extra('model.extra') }),
    WeightError,
    '"model.extra"',
    'one more',
  ],
  [
    'a vision tensor in a text model',
    () => tinyFiles({ tensors: extra('vision_model.x') }),
    WeightError,
    'vision_model.x',
  ],
  [
    'a transposed tensor',
    () => changed('lm_head.weight', { shape: [56, 320] }),
    WeightError,
    '[320,56]',
    '[56,320]',
  ],
  ['a tensor of another rank', () => changed(NORM, { shape: [1, 56] }), WeightError, NORM, '[56]', '[1,56]'],
  [
    'FP8 weights',
    () => changed('lm_head.weight', { dtype: 'F8_E4M3', bytes: new Uint8Array(320 * 56) }),
    WeightError,
    'lm_head.weight',
    'F8_E4M3',
  ],
  ['integer weights', () => changed(NORM, { dtype: 'I16' }), WeightError, NORM, 'I16'],
  ['an index that is a list', () => withIndex([]), WeightError, INDEX, 'weight_map'],
  ['an index without weight_map', () => withIndex({ metadata: {} }), WeightError, INDEX, 'weight_map'],
  ['an index with an empty weight_map', () => withIndex({ weight_map: {} }), WeightError, INDEX, 'empty'],
  ['an index that is not JSON', () => withIndex('{weight_map:{}}'), WeightError, INDEX, 'JSON'],
  [
    'a tensor twice in the index',
    () => withIndex('{"weight_map":{"w":"a","w":"b"}}'),
    WeightError,
    INDEX,
    'the key w twice',
  ],
  [
    'a shard that is a number',
    () => withIndex({ weight_map: { w: 1 } }),
    WeightError,
    INDEX,
    '"w"',
    'found 1',
  ],
  ...[
    '../secret.safetensors',
    '/etc/passwd',
    'a/b.safetensors',
    'a\\b.safetensors',
    'C:x.safetensors',
    '..',
    '',
    '.hidden.safetensors',
    'a\u0000.safetensors',
    'https:x.safetensors',
    'config.json',
    `${'a'.repeat(300)}.safetensors`,
  ].map(
    (shard) =>
      [
        `a shard named ${JSON.stringify(shard).slice(0, 40)}`,
        () => withIndex({ weight_map: { w: shard } }),
        WeightError,
        INDEX,
        '"w"',
        'beside the index',
      ] as const,
  ),
  [
    'an index to a missing shard',
    () => sharded((map) => Object.assign(map, { [NORM]: 'c.safetensors' })),
    WeightError,
    NORM,
    'b.safetensors',
  ],
  [
    'an index to a shard that is not there at all',
    async () => {
      const files = await sharded(() => {});
      files.delete('b.safetensors');
      return files;
    },
    WeightError,
    'b.safetensors',
    'no such file',
    INDEX,
  ],
  [
    'an index to a tensor that its shard lacks',
    () => sharded((map) => Object.assign(map, { 'model.extra': 'b.safetensors' })),
    WeightError,
    'b.safetensors',
    '"model.extra"',
  ],
  [
    'a tensor that the index does not list',
    () => sharded((map) => Reflect.deleteProperty(map, NORM)),
    WeightError,
    'b.safetensors',
    NORM,
    INDEX,
  ],
  [
    'a tensor in two shards',
    () =>
      sharded(
        () => {},
        (all) => [all.slice(0, 1), all],
      ),
    WeightError,
    'b.safetensors',
    'model.embed_tokens.weight',
    'a.safetensors',
  ],
  [
    'a shard that is cut short',
    async () => {
      const files = await sharded(() => {});
      const b = files.get('b.safetensors');
      return files.set('b.safetensors', b!.slice(0, -1));
    },
    WeightError,
    'b.safetensors',
    'data_offsets',
  ],
];

describe('hostile checkpoints', () => {
  const cases = CHECKPOINTS.map(([name, make, kind, ...mentions]) => ({ name, make, kind, mentions }));
  it.each(cases)('$name', ({ make, kind, mentions }) =>
    expectError(async () => openCheckpoint(memorySource('memory', await make())), kind, mentions),
  );

  it.each([
    ['NaN', 0x7fc1],
    ['an infinity', 0xff80],
  ])('%s among the weights', async (kind, bits) => {
    const tensors = await tinyTensors();
    const { name, bytes } = tensors[1];
    new DataView(bytes.buffer).setUint16(2 * 17, bits, true);
    const checkpoint = await openCheckpoint(
      memorySource('memory', await tinyFiles({ tensors: () => tensors })),
    );
    const run = () => checkpoint.weight(name)?.readRows(0, 0, 1);
    await expectError(run, WeightError, ['model.safetensors', name, `${kind} at [17]`]);
  });
});

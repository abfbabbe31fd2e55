import { describe, expect, it } from 'vitest';
import { configToJson, preset } from '../../src/config/index.ts';
import { WeightError } from '../../src/errors.ts';
import { openCheckpoint } from '../../src/weights/checkpoint.ts';
import { firstNonFinite } from '../../src/weights/finite.ts';
import { expectedTensors } from '../../src/weights/names.ts';
import { encodeSafetensors, readHeader } from '../../src/weights/safetensors.ts';
import { memorySource } from '../../src/weights/source.ts';
import { syntheticCheckpoint } from '../../src/weights/synthetic.ts';
import { fixtureSource } from '../golden.ts';
import { digests, loadAll, readBytes, TINY, text, tinyFiles, tinyTensors } from './support.ts';

describe.each([
  ['step3-tiny', 5, 'F32', 101],
  ['step3-small-bf16', 4, 'BF16', 384],
  ['step35-tiny', 6, 'F32', 97],
])('golden checkpoint %s', (name, layers, dtype, vocab) => {
  it('opens and reads, every tensor finite', async () => {
    const checkpoint = await openCheckpoint(fixtureSource(name));
    expect(checkpoint.config.num_hidden_layers).toBe(layers);
    expect([...checkpoint.weights.keys()]).toEqual(
      expectedTensors(checkpoint.config).map((spec) => spec.name),
    );
    for (const tensor of await loadAll(checkpoint)) {
      expect(tensor.dtype).toBe(dtype);
      expect(firstNonFinite(tensor.dtype, tensor.bytes)).toBe(-1);
    }
    await checkpoint.close();
    await expect(checkpoint.weight('lm_head.weight')!.readRows(0, 0, 1)).rejects.toThrow(WeightError);
  });

  it('has golden logits of its vocabulary', async () => {
    const file = (await fixtureSource(name).open('golden.safetensors'))!;
    const { tensors } = await readHeader(file);
    await file.close();
    const logits = tensors.find((tensor) => tensor.name === 'logits');
    expect(logits).toMatchObject({ dtype: 'F32', shape: [expect.any(Number), vocab] });
  });
});

describe('openCheckpoint', () => {
  it('reads byte ranges of tensors', async () => {
    const tensors = await tinyTensors();
    const checkpoint = await openCheckpoint(memorySource('memory', await tinyFiles()));
    const { name, bytes } = tensors[3];
    expect(await readBytes(checkpoint, name, 5, 11)).toEqual(bytes.slice(5, 16));
    await expect(readBytes(checkpoint, name, bytes.length - 1, 2)).rejects.toThrow(WeightError);
    expect(checkpoint.weight('model.nope')).toBeUndefined();
  });

  it('reads shards, and prefers the index over a single file', async () => {
    const tensors = await tinyTensors();
    const shards = [tensors.slice(0, 20), tensors.slice(20)];
    const weight_map = Object.fromEntries(
      shards.flatMap((shard, i) => shard.map(({ name }) => [name, `${i}.safetensors`])),
    );
    const files = await tinyFiles({
      files: {
        'model.safetensors': text('not looked at'),
        'model.safetensors.index.json': text({ metadata: {}, weight_map }),
        '0.safetensors': encodeSafetensors(shards[0]),
        '1.safetensors': encodeSafetensors(shards[1]),
      },
    });
    const checkpoint = await openCheckpoint(memorySource('memory', files));
    expect(digests(await loadAll(checkpoint))).toEqual(digests(tensors));
  });

  it('ignores the vision tower of a step3_vl checkpoint', async () => {
    const vision = ['vision_model.x', 'vit_downsampler2.weight', 'vit_large_projector.weight'];
    const files = await tinyFiles({
      files: { 'config.json': text({ model_type: 'step3_vl', text_config: configToJson(TINY) }) },
      tensors: (tensors) => [
        ...tensors,
        ...vision.map((name) => ({ name, dtype: 'U8' as const, shape: [1], bytes: text('x') })),
      ],
    });
    const checkpoint = await openCheckpoint(memorySource('memory', files));
    expect(checkpoint.weights.size).toBe(expectedTensors(TINY).length);
  });

  it('closes what it opened when it fails', async () => {
    const files = await tinyFiles({ tensors: (tensors) => tensors.slice(1) });
    let open = 0;
    const inner = memorySource('memory', files);
    const counting = {
      name: 'counting',
      open: async (name: string) => {
        const file = await inner.open(name);
        if (file === undefined) return undefined;
        open++;
        return {
          ...file,
          close: async () => {
            open--;
          },
        };
      },
    };
    await expect(openCheckpoint(counting)).rejects.toThrow(WeightError);
    expect(open).toBe(0);
  });
});

describe('prediction blocks of a Step-3.5-Flash', () => {
  const config = preset('step35-tiny');
  const open = async (keep: (name: string) => boolean) => {
    const tensors = (await loadAll(syntheticCheckpoint(config, 2))).filter(({ name }) => keep(name));
    const files = new Map([
      ['config.json', text(configToJson(config))],
      ['model.safetensors', encodeSafetensors(tensors)],
    ]);
    return openCheckpoint(memorySource('blocks', files));
  };
  const layerOf = (name: string) => Number(/layers\.(\d+)/.exec(name)?.[1] ?? 0);

  it.each([0, 1, 3])('%i in the file, however many the configuration counts', async (blocks) => {
    const checkpoint = await open((name) => layerOf(name) < config.num_hidden_layers + blocks);
    expect(checkpoint.config).toMatchObject({ num_nextn_predict_layers: blocks });
  });

  it('must be whole, and none may be left out in between', async () => {
    await expect(open((name) => name !== 'model.layers.6.eh_proj.weight')).rejects.toThrow(
      /layers\.6\.eh_proj/,
    );
    await expect(open((name) => layerOf(name) !== 6)).rejects.toThrow(/layers\.7\..*only tensors/);
  });

  it('an expert_bias beside the router_bias is left alone', async () => {
    const tensors = await loadAll(syntheticCheckpoint(config, 2));
    const { dtype } = tensors[0];
    tensors.push({ name: 'model.layers.1.moe.expert_bias', dtype, shape: [8], bytes: new Uint8Array(16) });
    const files = new Map([
      ['config.json', text(configToJson(config))],
      ['model.safetensors', encodeSafetensors(tensors)],
    ]);
    const checkpoint = await openCheckpoint(memorySource('bias', files));
    expect(checkpoint.weights.has('model.layers.1.moe.expert_bias')).toBe(false);
  });
});

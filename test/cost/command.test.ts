/** `step3 cost`, within this process. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { costCommand } from '../../src/cli/cost.ts';
import { configToJson, PRESETS } from '../../src/config/index.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'step3-cost-'));
});
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(() => vi.restoreAllMocks());

async function cost(...args: string[]): Promise<string> {
  const out: string[] = [];
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => out.push(String(text)) > 0);
  await costCommand()
    .exitOverride()
    .configureOutput({ outputError: () => {} })
    .parseAsync(args, { from: 'user' });
  return out.join('');
}

describe('step3 cost', () => {
  it('prints a card', async () => {
    const text = await cost('--afd');
    expect(text).toMatch(/parameters +316\.29 billion, 37\.92 billion active/);
    expect(text).toMatch(/best pairing +attention on H20 .* total \$0\.0550 per/);
    expect(text).toMatch(/instances +\d+ attention, \d+ FFN/);
  });

  it('prints one JSON object', async () => {
    const report = JSON.parse(await cost('--context', '32768', '--hardware', 'h800,l20', '--json'));
    expect(report.cards.map((card: { hardware: string }) => card.hardware)).toEqual(['H800', 'L20']);
    expect(report.cards[0].dollars.total).toBeCloseTo(0.1905, 4);
    expect(report.cards[1]).not.toHaveProperty('dollars');
    expect(report).not.toHaveProperty('afd');
  });

  it('counts precisions', async () => {
    const read = async (...args: string[]) => JSON.parse(await cost('--json', '--hardware', 'h800', ...args));
    const [eight, sixteen] = [await read(), await read('--kv-bits', '16', '--weight-bits', '16')];
    expect(sixteen.token.kv_bytes).toBe(2 * eight.token.kv_bytes);
    expect(sixteen.cards[0].dense_batch).toBeCloseTo(9.89e14 / 3.35e12, 9);
  });

  it('counts the scales of an fp8 cache', async () => {
    const stored = async (model: string, kv: string) =>
      JSON.parse(await cost('--json', '--model', model, '--context', '100', '--kv', kv)).stored_bytes;
    expect(await stored('step3', 'fp8')).toBe(61 * 2 * (256 + 4) * 100);
    expect(await stored('step3', 'f16')).toBe(61 * 2 * 256 * 2 * 100);
    // A latent and its rotary key are one row.
    expect(await stored('deepseek-v3', 'fp8')).toBe(61 * (512 + 64 + 4) * 100);
    await expect(cost('--kv', 'fp8', '--kv-bits', '8')).rejects.toThrow();
  });

  it('counts weights, stored keys and values, and the wire', async () => {
    const read = async (...args: string[]) => JSON.parse(await cost('--json', '--hardware', 'h800', ...args));
    const [eight, four] = [await read(), await read('--weight-bits', '4')];
    expect(eight.weight_bytes).toBe(eight.parameters.total);
    expect(four.weight_bytes).toBe(eight.weight_bytes / 2);
    expect(eight.stored_bytes).toBe(61 * 512 * 8192);
    expect(eight.wire_bytes).toBe(61 * 3 * 7168);
    expect(eight.cards[0]).toMatchObject({ cards_for_weights: 4, requests_per_card: 312 });
    expect(four.cards[0].cards_for_weights).toBe(2);
    expect(eight.cards[0].unit_costs.per_byte).toBeCloseTo(1.658e-16, 18);
    // A state is moved twice, there and back, but stored once.
    const m1 = await read('--model', 'minimax-m1', '--context', '1');
    expect(m1.token.kv_bytes - m1.stored_bytes).toBe(70 * 64 * 128 ** 2 * 4);
  });

  it('takes hardware from files, beside known names', async () => {
    const mine = join(folder, 'mine.json');
    const one = { name: 'Mine', bf16_flops: 1e14, bytes_per_second: 1e12, dollars_per_hour: 0.1 };
    writeFileSync(mine, JSON.stringify(one));
    const { cards, afd } = JSON.parse(await cost('--hardware', `h800,${mine}`, '--afd', '--json'));
    expect(cards[1]).toMatchObject({ hardware: 'Mine', source: mine });
    expect(cards[1].unit_costs.per_flop).toBeCloseTo(0.1 / 3600 / 1e14, 25);
    expect(afd).toMatchObject({
      attention: 'Mine',
      unsized: expect.arrayContaining(['Mine server_network']),
    });
    expect(afd).not.toHaveProperty('sizing');
    writeFileSync(mine, JSON.stringify([one, { ...one, name: 'Other' }]));
    const two = JSON.parse(await cost('--hardware', mine, '--json'));
    expect(two.cards.map((card: { hardware: string }) => card.hardware)).toEqual(['Mine', 'Other']);
    expect(await cost('--hardware', mine, '--afd')).toMatch(
      /sizing +not without Mine server_network, Mine memory/,
    );
  });

  it('draws the figures', async () => {
    const plots = join(folder, 'deep', 'plots');
    const { files } = JSON.parse(await cost('--plots', plots, '--json'));
    expect(files).toHaveLength(4);
    for (const file of files) {
      const svg = readFileSync(file, 'utf8');
      expect(svg).toMatch(/^<svg [^>]*>\n<title>[^<]+<\/title>/);
      expect(svg).not.toMatch(/NaN|undefined|Infinity/);
      // Those of the document are these; to renew them: step3 cost --plots docs
      expect(svg).toBe(readFileSync(join('docs', basename(file)), 'utf8'));
    }
    const mine = join(folder, 'plotted.json');
    writeFileSync(mine, JSON.stringify(configToJson(PRESETS['step3-tiny'])));
    await cost('--plots', plots, '--model', mine);
    expect(readFileSync(join(plots, 'cost-context.svg'), 'utf8')).toContain('plotted.json</text>');
    await expect(cost('--plots', mine)).rejects.toThrow(/plots: expected a folder/);
  });

  it('reads a configuration from a file or its folder', async () => {
    writeFileSync(join(folder, 'config.json'), JSON.stringify(configToJson(PRESETS['step3-tiny'])));
    const from = async (model: string) => JSON.parse(await cost('--json', '--model', model));
    const [file, parent] = [await from(join(folder, 'config.json')), await from(folder)];
    expect(file.parameters).toEqual(parent.parameters);
    expect(file.token.kv_bytes).toBe(4 * 2 * 32 * 8192);
    expect(parent.model).toBe(basename(folder));
  });

  it('prints the tables of the report with differences', async () => {
    const { tables } = JSON.parse(await cost('--paper', '--json'));
    for (const { cells } of tables) {
      for (const cell of cells) expect(cell.difference).toBe(cell.computed - cell.printed);
    }
    const text = await cost('--paper');
    expect(text).toMatch(/^Table 7: .*\n +computed +printed +difference +%\nH800 /m);
  });

  it('names what is wrong', async () => {
    await expect(cost('--model', 'nope')).rejects.toThrow(/model: expected a file, or one of deepseek-v3/);
    await expect(cost('--hardware', 'h800,')).rejects.toThrow(/hardware: expected one of h800, .* got ""/);
    await expect(cost('--hardware', 'm2-ultra')).rejects.toThrow(/Apple M2 Ultra: expected a known peak/);
    await expect(cost('--hardware', 'h100', '--afd')).rejects.toThrow(/H100: expected a known price/);
    await expect(cost('--context', '0')).rejects.toThrow(/integer >= 1/);
    await expect(cost('--tpot', '0', '--afd')).rejects.toThrow(/TPOT/);
    await expect(cost('--hardware', 'h800,H800')).rejects.toThrow(
      /hardware: expected each name once, got "H800"/,
    );
    await expect(cost('--hardware', 'nope.json')).rejects.toThrow(
      /nope\.json: hardware: expected a readable file/,
    );
    await expect(cost('--hardware', folder)).rejects.toThrow(/hardware: expected a file, got "a folder"/);
    await expect(cost('--model', '/dev/zero')).rejects.toThrow(/expected a file/);
    await expect(cost('--model', join(folder, 'none'))).rejects.toThrow(/model: expected a file/);
    await expect(cost('--model', tmpdir())).rejects.toThrow(/config\.json: config: expected a readable file/);
    await expect(cost('--weight-bits', '3')).rejects.toThrow(/4, 8, 16/);
    writeFileSync(join(folder, 'broken.json'), '{');
    await expect(cost('--hardware', join(folder, 'broken.json'))).rejects.toThrow(/hardware: expected JSON/);
    await expect(cost('--model', join(folder, 'broken.json'))).rejects.toThrow(/expected JSON, got "\{"/);
  });
});

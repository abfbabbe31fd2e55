/** `step3 cost`, within this process. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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

  it('reads a configuration from a file or its folder', async () => {
    writeFileSync(join(folder, 'config.json'), JSON.stringify(configToJson(PRESETS['step3-tiny'])));
    const from = async (model: string) => JSON.parse(await cost('--json', '--model', model));
    const [file, parent] = [await from(join(folder, 'config.json')), await from(folder)];
    expect(file.parameters).toEqual(parent.parameters);
    expect(file.token.kv_bytes).toBe(4 * 2 * 32 * 8192);
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
    await expect(cost('--model', 'nope')).rejects.toThrow(/model: expected one of deepseek-v3/);
    await expect(cost('--hardware', 'h800,')).rejects.toThrow(/hardware: expected one of h800, .* got ""/);
    await expect(cost('--hardware', 'm4-max')).rejects.toThrow(/Apple M4 Max: expected a known peak/);
    await expect(cost('--hardware', 'h100', '--afd')).rejects.toThrow(/H100: expected a known price/);
    await expect(cost('--context', '0')).rejects.toThrow(/integer >= 1/);
    await expect(cost('--tpot', '0', '--afd')).rejects.toThrow(/TPOT/);
    writeFileSync(join(folder, 'broken.json'), '{');
    await expect(cost('--model', join(folder, 'broken.json'))).rejects.toThrow(/expected JSON, got "\{"/);
  });
});

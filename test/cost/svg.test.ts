/** Plots as SVG text. */
import { expect, it } from 'vitest';
import { renderSvg } from '../../src/cli/svg.ts';
import { costPlots } from '../../src/cost/plots.ts';

it('has a title, short coordinates, and texts as they were given', async () => {
  const svg = await renderSvg(
    {
      title: 'driver 580.159.04 <b>',
      data: { values: [1 / 3, 2 / 3].map((x) => ({ x, y: x })) },
      mark: 'point',
      encoding: { x: { field: 'x', type: 'quantitative' }, y: { field: 'y', type: 'quantitative' } },
    },
    'a < b & c',
  );
  expect(svg).toMatch(/^<svg [^>]+>\n<title>a &lt; b &amp; c<\/title>/);
  expect(svg).toContain('>driver 580.159.04 &lt;b&gt;</text>');
  for (const [tag] of svg.matchAll(/<[^>]+>/g)) expect(tag).not.toMatch(/\d\.\d{3}/);
  expect(svg.endsWith('</svg>\n')).toBe(true);
});

it('is the same for the same figure', async () => {
  const [{ spec, title }] = costPlots();
  expect(await renderSvg(spec, title)).toBe(await renderSvg(spec, title));
});

/** Plots: Vega-Lite specifications drawn as SVG, without a browser or native code. */
import type { TopLevelSpec } from 'vega-lite';

/**
 * Draws a specification.
 *
 * @param title what the plot shows, as the SVG's own title
 * @returns the SVG's text, the same for the same specification
 */
export async function renderSvg(spec: TopLevelSpec, title: string): Promise<string> {
  // Loaded only here: commands that draw nothing should not wait for them.
  const [{ parse, View }, { compile }] = await Promise.all([import('vega'), import('vega-lite')]);
  const svg = await new View(parse(compile(spec).spec), { renderer: 'none' }).toSVG();
  return `${svg
    .replace(/^(<svg[^>]*>)/, `$1\n<title>${xml(title)}</title>`)
    .replaceAll('</g><g', '</g>\n<g')
    // Hundredths of a pixel suffice, and keep files small.
    .replace(
      /(?<=[ ,(A-Za-z"-])\d+\.\d{3,}(?=[^>]*>)/g,
      (digits) => `${Number(Number(digits).toFixed(2))}`,
    )}\n`;
}

function xml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

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
  const head = `$1 font-family="sans-serif">\n<title>${xml(title)}</title>`;
  return `${svg
    .replace(/<[^>]+>/g, shorten)
    .replace(/^(<svg[^>]*)>/, head)
    .replaceAll('</g><g', '</g>\n<g')}\n`;
}

/** Attributes that say what holds anyway, or that only an interactive plot needs. */
const IDLE =
  / (?:opacity="1"|stroke-width="1"|pointer-events="\w+"|transform="translate\(0,0\)"|font-family="sans-serif"|class="[^"]*"|role="[^"]*"|aria-[a-z]+="[^"]*")/g;

/** Paths that draw nothing. */
const EMPTY = /^<path(?: d="(?:M0,0h0v0h0Z)?"| display="none")+\/>$/;

/** A tag without what does not show, and with coordinates to hundredths of a pixel: a third to a half of the bytes. */
function shorten(tag: string): string {
  const short = tag
    .replace(IDLE, '')
    .replace(/(?<=[ ,(A-Za-z"-])\d+\.\d{3,}/g, (digits) => `${Number(Number(digits).toFixed(2))}`);
  return EMPTY.test(short) ? '' : short.replaceAll(' x2="0"', '').replaceAll(' y2="0"', '');
}

function xml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

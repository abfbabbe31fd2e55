/** Tiles of (token, choice) pairs that chose the same expert: what moe_group makes, and the kernels of experts walk. */

/** Stands where a tile is unused. */
export const UNUSED = 0xffffffff;

/** How pairs are cut into tiles. */
export interface Grouping {
  readonly experts: number;
  readonly pairs: number;
  /** Pairs per tile. */
  readonly tile: number;
  readonly maxTiles: number;
}

/**
 * Pairs in the order of their experts, and `tiles` `[maxTiles, 4]` of (expert, begin, count, 0). `expertOf` is asked once for
 * each pair, in their order.
 */
export function groupPairs(
  { experts, pairs, tile, maxTiles }: Grouping,
  expertOf: (pair: number) => number,
): { tiles: Uint32Array; pairs: Uint32Array } {
  const groups = Array.from({ length: experts }, (): number[] => []);
  for (let pair = 0; pair < pairs; pair++) groups[expertOf(pair)].push(pair);
  const tiles = new Uint32Array(maxTiles * 4);
  let used = 0;
  let begin = 0;
  groups.forEach((group, expert) => {
    for (let i = 0; i < group.length; i += tile) {
      tiles.set([expert, begin + i, Math.min(tile, group.length - i), 0], used++ * 4);
    }
    begin += group.length;
  });
  for (; used < maxTiles; used++) tiles.set([UNUSED, 0, 1, 0], used * 4);
  return { tiles, pairs: Uint32Array.from(groups.flat()) };
}

// How products of 16 x 16 matrices become results. The kernel gives SIZE, SG_K, params and results; library files tile_item
// (rows_*) and out4 (out_*).

// Writes the product that the subgroup left in `results`: tokens token0 .. token0 + 15 of the tile, rows row0 .. row0 + 15
// of the workgroup. All subgroups come here together.
fn store(tile: u32, first: u32, token0: u32, row0: u32, sg: u32, lane: u32) {
  workgroupBarrier();
  // Subgroups that shared the columns share the rows of the result too.
  for (var unit = lane + sg % SG_K * SIZE; unit < 64u; unit += SIZE * SG_K) {
    let i = unit / 4u;
    let at = sg / SG_K * SG_K * 256u + unit * 4u;
    let item = tile_item(tile, token0 + i);
    let n = first + row0 + unit % 4u * 4u;
    if (item.valid && n < params.row_count) {
      var v = vec4<f32>(0.0);
      for (var part = 0u; part < SG_K; part++) {
        let from_part = at + part * 256u;
        v += vec4<f32>(
          results[from_part], results[from_part + 1u], results[from_part + 2u], results[from_part + 3u]);
      }
      out4(item.y_row, params.row_begin + n, v, min(4u, params.row_count - n));
    }
  }
  workgroupBarrier();
}

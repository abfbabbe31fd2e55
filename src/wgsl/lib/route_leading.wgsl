// Many experts: first their quarters (four experts each) are ranked by their largest keys, as there are TOP_K that lead; then the
// experts of these, among which the choices are, by the same order.
var<workgroup> route_peaks: array<f32, (QUARTERS + 3u) / 4u * 4u>;  // largest keys of quarters
var<workgroup> route_quarters: array<u32, TOP_K>;                   // those that lead

fn note_quarter(q: u32, four: vec4<f32>) {
  route_peaks[q] = max(max(four.x, four.y), max(four.z, four.w));
}

fn rank_experts(token: u32, weigh: bool, end: u32) {
  for (var own = invocation; own < QUARTERS; own += WG) {
    let peak = route_peaks[own];
    var ahead = vec4<u32>(0u);
    for (var q = 0u; q < end; q += 4u) {
      let four = vec4<f32>(route_peaks[q], route_peaks[q + 1u], route_peaks[q + 2u], route_peaks[q + 3u]);
      ahead += leads(four, q, peak, own, QUARTERS);
    }
    let place = ahead.x + ahead.y + ahead.z + ahead.w;
    if (place < TOP_K) {
      route_quarters[place] = own;
    }
  }
  workgroupBarrier();
  for (var i = invocation; i < TOP_K * 4u; i += WG) {
    let e = route_quarters[i / 4u] * 4u + i % 4u;
    if (e < EXPERTS) {
      let own = route_keys[e / 4u][e % 4u];
      var ahead = vec4<u32>(0u);
      for (var r = 0u; r < min(TOP_K, end); r++) {
        let q = route_quarters[r];
        ahead += leads(route_keys[q], q * 4u, own, e, EXPERTS);
      }
      take_place(token, e, own, ahead, weigh, end);
    }
  }
}

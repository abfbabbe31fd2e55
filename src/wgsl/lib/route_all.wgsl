// Few experts: an invocation for each counts how many of all are ahead of it, four at a time.
fn note_quarter(q: u32, four: vec4<f32>) {
}

fn rank_experts(token: u32, weigh: bool, end: u32) {
  for (var e = invocation; e < EXPERTS; e += WG) {
    let own = route_keys[e / 4u][e % 4u];
    var ahead = vec4<u32>(0u);
    for (var q = 0u; q < end; q++) {
      ahead += leads(route_keys[q], q * 4u, own, e, EXPERTS);
    }
    take_place(token, e, own, ahead, weigh, end);
  }
}

// Routing of one token per workgroup: RMSNorm, logits against every expert, softmax over all of them in f32, the top_k
// most probable (lower index first among equals), renormalised to sum 1 only if RENORMALISE.
// Teams walk the experts four at a time; then an invocation per expert counts how many are ahead of it.
//
// Library files give: the team and entry point, load_weight8 (weight_*), load_x8 (x_blocks).
//
// --- specialised ---
const WG: u32 = 64u;              // invocations of a workgroup
const K: u32 = 64u;               // hidden size; rows are padded to BLOCKS * 8
const EXPERTS: u32 = 8u;          // moe_num_experts
const TOP_K: u32 = 2u;            // moe_top_k
const RENORMALISE: bool = false;  // norm_expert_weight

const BLOCKS: u32 = (K + 7u) / 8u;
const SUMS: u32 = 2u;
const X_STRIDE: u32 = BLOCKS * 8u;

struct Params {
  eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;                  // [tokens, BLOCKS * 8]
@group(0) @binding(3) var<storage, read> gamma: array<vec4<f32>>;              // [BLOCKS * 8]
@group(0) @binding(4) var<storage, read_write> expert_ids: array<u32>;         // [tokens, TOP_K]
@group(0) @binding(5) var<storage, read_write> expert_weights: array<f32>;     // [tokens, TOP_K]

var<workgroup> logits: array<f32, EXPERTS>;
var<workgroup> chosen: array<f32, TOP_K>;

fn run(workgroup_id: vec3<u32>, local_index: u32, team: Team, teams: u32) {
  let token = workgroup_id.x;
  let rounds = (EXPERTS + teams * 4u - 1u) / (teams * 4u);
  for (var round = 0u; round < rounds; round++) {
    let e = (round * teams + team.index) * 4u;
    let e0 = min(e, EXPERTS - 1u);
    let e1 = min(e + 1u, EXPERTS - 1u);
    let e2 = min(e + 2u, EXPERTS - 1u);
    let e3 = min(e + 3u, EXPERTS - 1u);
    var sums = vec4<f32>(0.0);
    var squares = 0.0;
    for (var block = team.lane; block < BLOCKS; block += team.size) {
      let raw = load_x8(token, block);
      let xb = Block8(raw.lo * gamma[block * 2u], raw.hi * gamma[block * 2u + 1u]);
      sums += vec4<f32>(
        dot8(load_weight8(e0, block), xb), dot8(load_weight8(e1, block), xb),
        dot8(load_weight8(e2, block), xb), dot8(load_weight8(e3, block), xb));
      squares += dot8(raw, raw);
    }
    team_put(0u, sums, local_index);
    team_put(1u, vec4<f32>(squares), local_index);
    team_sync();
    if (team.lane == 0u) {
      let sum = team_sum(0u, local_index);
      let scale = inverseSqrt(team_sum(1u, local_index).x / f32(K) + params.eps);
      for (var i = 0u; i < 4u && e + i < EXPERTS; i++) {
        logits[e + i] = sum[i] * scale;
      }
    }
    team_sync();
  }
  workgroupBarrier();
  for (var e = local_index; e < EXPERTS; e += WG) {
    let own = logits[e];
    var ahead = 0u;
    for (var other = 0u; other < EXPERTS; other++) {
      let l = logits[other];
      ahead += u32(l > own || (l == own && other < e));
    }
    if (ahead < TOP_K) {
      var sum = 0.0;
      for (var other = 0u; other < EXPERTS; other++) {
        sum += exp(logits[other] - own);
      }
      chosen[ahead] = 1.0 / sum;
      expert_ids[token * TOP_K + ahead] = e;
    }
  }
  workgroupBarrier();
  if (local_index < TOP_K) {
    var weight = chosen[local_index];
    if (RENORMALISE) {
      var sum = 0.0;
      for (var i = 0u; i < TOP_K; i++) {
        sum += chosen[i];
      }
      weight /= sum;
    }
    expert_weights[token * TOP_K + local_index] = weight;
  }
}

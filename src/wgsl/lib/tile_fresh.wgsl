// Queries, key and value of the token fresh from the fused projection, as qk_norm_rope takes them: query heads and the key
// are divided by their root mean square, multiplied with their gamma, and their first ROTARY elements rotated (NEOX halves),
// among the STEPS neighbours in a subgroup that have a head. Every workgroup does so with its own heads and the key of their
// KV head; the first one of the KV head that sees the token itself puts key and value into the cache. Others that read that row
// meanwhile do not use what they get. Library files give kept, store_k and store_v (cache_*_fresh).
//
// --- specialised ---
const STRIDE: u32 = 64u;  // elements of a row of qkv: query heads, key heads, value heads, and what else there is
const ROTARY: u32 = 16u;  // elements of a head that are rotated: 16 times a power of two
const EPS: f32 = 0.00001;

const FRESH: bool = true;
const APART: u32 = ROTARY / 16u;  // steps between what is rotated together

@group(0) @binding(3) var<storage, read> qkv: array<vec4<f32>>;      // [tokens, STRIDE]
@group(0) @binding(10) var<storage, read> q_norm: array<vec4<f32>>;  // [D]
@group(0) @binding(11) var<storage, read> k_norm: array<vec4<f32>>;  // [D]
@group(0) @binding(12) var<storage, read> turns: array<vec4<f32>>;   // [tokens, ROTARY / 2] of (cos, sin)

struct Asked {
  q_gamma: Pair,
  k_gamma: Pair,
  cosines: Pair,
  sines: Pair,
  k: Pair,
  v: Pair,
}

fn ask(token: u32, kv_head: u32, step: u32) -> Asked {
  let at = (token * (ROTARY / 2u) + step % APART * 8u) / 2u;
  let a = turns[at];
  let b = turns[at + 1u];
  let c = turns[at + 2u];
  let d = turns[at + 3u];
  let rotated = step < 2u * APART;
  let sign = select(0.0, select(1.0, -1.0, step < APART), rotated);
  return Asked(
    Pair(q_norm[step * 2u], q_norm[step * 2u + 1u]),
    Pair(k_norm[step * 2u], k_norm[step * 2u + 1u]),
    Pair(
      select(vec4<f32>(1.0), vec4<f32>(a.xz, b.xz), rotated),
      select(vec4<f32>(1.0), vec4<f32>(c.xz, d.xz), rotated)),
    Pair(vec4<f32>(a.yw, b.yw) * sign, vec4<f32>(c.yw, d.yw) * sign),
    ask_query(token, HEADS + kv_head, step),
    ask_query(token, HEADS + KV_HEADS + kv_head, step));
}

fn ask_query(token: u32, head: u32, step: u32) -> Pair {
  let at = (token * STRIDE + head * D) / 4u + step * 2u;
  return Pair(qkv[at], qkv[at + 1u]);
}

fn query_of(x: Pair, asked: Asked) -> Pair {
  return turned(x, asked.q_gamma, asked);
}

fn take(asked: Asked) -> Own {
  return Own(kept(turned(asked.k, asked.k_gamma, asked)), kept(asked.v));
}

fn turned(x: Pair, gamma: Pair, asked: Asked) -> Pair {
  var sum = dot(x.low, x.low) + dot(x.high, x.high);
  for (var mask = 1u; mask < STEPS; mask *= 2u) {
    sum += subgroupShuffleXor(sum, mask);
  }
  let scale = inverseSqrt(sum / f32(D) + EPS);
  let low = x.low * gamma.low * scale;
  let high = x.high * gamma.high * scale;
  return Pair(
    low * asked.cosines.low + partners(low) * asked.sines.low,
    high * asked.cosines.high + partners(high) * asked.sines.high);
}

fn partners(own: vec4<f32>) -> vec4<f32> {
  return vec4<f32>(partner(own.x), partner(own.y), partner(own.z), partner(own.w));
}

fn partner(own: f32) -> f32 {
  let mask = APART;
  return subgroupShuffleXor(own, mask);
}

// Key and value into their row of the cache.
fn keep(row: u32, step: u32, own: Own) {
  store_k(row, step, own.k);
  store_v(row, step, own.v);
}

// Queries that are normalised and rotated; keys and values of the step are in the cache.
@group(0) @binding(3) var<storage, read> q_rope: array<vec4<f32>>;  // [tokens, HEADS, D]

const FRESH: bool = false;

struct Asked {
  unused: u32,
}

fn ask(token: u32, kv_head: u32, step: u32) -> Asked {
  return Asked();
}

fn ask_query(token: u32, head: u32, step: u32) -> Pair {
  let at = (token * HEADS + head) * (D / 4u) + step * 2u;
  return Pair(q_rope[at], q_rope[at + 1u]);
}

fn query_of(x: Pair, asked: Asked) -> Pair {
  return x;
}

fn take(asked: Asked) -> Own {
  return Own();
}

fn keep(row: u32, step: u32, own: Own) {}

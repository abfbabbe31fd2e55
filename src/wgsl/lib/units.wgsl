// What all compressed formats share. A row is cut into units of 32 columns, whose small integers lie in planes, and whose
// scales follow the planes of the row; quad q of a unit (four columns) stands in slot q ^ (unit % 8), so that lanes that read
// neighbouring units meet x in different memory banks (src/formats/planes.ts has the layout).
//
// Integers become floats without conversions, which are slow: their bits are put into the mantissa of a binary16 whose
// exponent makes the value OFFSET + n, exact; OFFSET is taken off a whole unit at once, times the sum of x.
//
// A weight_* file gives OFFSET, HALVES, SHIFTED, ZEROS, REACH (the largest magnitude of a weight whose scale is 1 and whose
// shift is 0), load_words, unit_of and raw8 (or levels_* does); fetch_* gives fetch and fetch_word.

struct Block8 {
  lo: vec4<f32>,
  hi: vec4<f32>,
}

// Integers of 32 columns and their scales: a weight is scale * n + shift, or scale * (n - shift) where ZEROS. Two scales
// where HALVES: for columns 0..15 and 16..31.
struct Unit {
  lo: vec4<u32>,
  hi: vec4<u32>,
  scale: vec2<f32>,
  shift: vec2<f32>,
}

// A unit as it lies in memory: planes of its integers as in Unit, and the words that its scales are in.
struct Words {
  lo: vec4<u32>,
  hi: vec4<u32>,
  scales: vec4<u32>,
}

// Source of fetch that is no buffer of w: a second matrix of the same format.
const SHARED: u32 = 8u;

fn units_of(cols: u32) -> u32 {
  return (cols + 31u) / 32u;
}

// Words rounded up to whole 128-bit loads.
fn whole_row(words: u32) -> u32 {
  return (words + 3u) / 4u * 4u;
}

// A non-negative integer below 2^23 as a float.
fn small_float(n: u32) -> f32 {
  return bitcast<f32>(n | 0x4b000000u) - 8388608.0;
}

// Binary16 number i of a stream of them, from its word i / 2.
fn half_of(word: u32, i: u32) -> f32 {
  return unpack2x16float(word >> (16u * (i % 2u))).x;
}

fn load_unit(source: u32, cols: u32, row: u32, unit: u32) -> Unit {
  return unit_of(load_words(source, cols, row, unit), unit);
}

// Eight 4-bit integers of a word of a plane: OFFSET is 16, since they go to the top of the mantissa.
fn nibbles8(v: u32) -> Block8 {
  let turned = (v >> 8u) | (v << 24u);
  let mask = 0x03c003c0u;
  let one = 0x4c004c00u;
  return pairs8(((v << 4u) & mask) | one, (v & mask) | one, ((turned << 4u) & mask) | one, (turned & mask) | one);
}

// The same with one or two higher bits, which stand from bits 8 and 24 of a word for each of the four columns: OFFSET is 64.
fn nibbles8_with(v: u32, high: vec4<u32>) -> Block8 {
  let mask = 0x00f000f0u;
  let one = 0x54005400u;
  return pairs8(
    ((v << 2u) & mask) | high.x | one,
    ((v >> 2u) & mask) | high.y | one,
    ((v >> 6u) & mask) | high.z | one,
    (((v >> 10u) | (v << 22u)) & mask) | high.w | one);
}

// Eight integers as they are, two to a word in its halves.
fn pairs8(a: u32, b: u32, c: u32, d: u32) -> Block8 {
  let e = unpack2x16float(a);
  let f = unpack2x16float(b);
  let g = unpack2x16float(c);
  let h = unpack2x16float(d);
  return Block8(vec4<f32>(e.x, f.x, g.x, h.x), vec4<f32>(e.y, f.y, g.y, h.y));
}

// Four unsigned bytes: OFFSET is 1024.
fn bytes4(v: u32) -> vec4<f32> {
  let even = unpack2x16float((v & 0x00ff00ffu) | 0x64006400u);
  let odd = unpack2x16float(((v >> 8u) & 0x00ff00ffu) | 0x64006400u);
  return vec4<f32>(even.x, odd.x, even.y, odd.y);
}

fn add4(sum: f32, a: vec4<f32>, b: vec4<f32>) -> f32 {
  return sum + a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
}

// What of a quad lies before column `cols`: the rest is padding that nobody wrote.
fn begin4(v: vec4<f32>, quad: u32, cols: u32) -> vec4<f32> {
  if (cols % 32u == 0u) {
    return v;
  }
  return select(vec4<f32>(0.0), v, vec4<u32>(quad * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(cols));
}

// The weights of slots 2j and 2j + 1, whose scales are the second ones where `second`.
fn weights8(u: Unit, j: u32, second: bool) -> Block8 {
  let raw = raw8(u, j);
  let scale = select(u.scale.x, u.scale.y, second);
  let shift = select(u.shift.x, u.shift.y, second);
  let b = Block8(raw.lo - vec4<f32>(OFFSET), raw.hi - vec4<f32>(OFFSET));
  if (ZEROS) {
    return Block8((b.lo - shift) * scale, (b.hi - shift) * scale);
  }
  if (SHIFTED) {
    return Block8(b.lo * scale + shift, b.hi * scale + shift);
  }
  return Block8(b.lo * scale, b.hi * scale);
}

// The weights of a block of 8 columns.
fn block_of(u: Unit, block: u32) -> Block8 {
  let unit = block / 4u;
  let b = weights8(u, (block % 4u) ^ (unit % 8u / 2u), HALVES && block % 4u >= 2u);
  if (unit % 2u == 1u) {
    return Block8(b.hi, b.lo);
  }
  return b;
}

fn load_weight8(row: u32, block: u32) -> Block8 {
  return block_of(load_unit(0u, K, row, block / 4u), block);
}

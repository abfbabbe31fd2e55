// Staging of 16-bit weights: a piece is a block of 8 columns, one 128-bit load. weight_* gives w and decode8.
const PIECE: u32 = 8u;
const TURNS: u32 = 1u;

alias Piece = vec4<u32>;

fn piece_at(row: u32, piece: u32) -> u32 {
  return row * BLOCKS + piece;
}

// `ahead`: blocks from where `at` is.
fn load_piece(at: u32, ahead: u32, piece: u32) -> Piece {
  return w[at + ahead];
}

fn ready_piece(v: Piece, piece: u32) -> Piece {
  return v;
}

fn piece8(v: Piece, slots: u32, turn: u32) -> Block8 {
  return decode8(v, v);
}

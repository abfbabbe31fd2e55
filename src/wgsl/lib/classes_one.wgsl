// All layers are of one class (place_of).
fn place_in_class(number: u32, token: u32, li: u32) {
  place_of(token, li);
}

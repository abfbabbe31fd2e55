// Places of tokens are another call's.
fn place_in_class(number: u32, token: u32, li: u32) {}

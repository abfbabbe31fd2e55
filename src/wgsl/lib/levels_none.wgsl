// For weights whose integers choose no levels, or levels that are computed.
fn prepare_levels() {}

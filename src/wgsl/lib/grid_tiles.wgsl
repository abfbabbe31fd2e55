// Workgroups that follow each other take one tile of x after another, with the same rows of w: where tiles share an expert,
// its rows are read from memory once.
fn tile_of(workgroup_id: vec3<u32>) -> u32 {
  return workgroup_id.x;
}

// Which rows of w, counted in those of a workgroup.
fn rows_at(workgroup_id: vec3<u32>) -> u32 {
  return workgroup_id.y;
}

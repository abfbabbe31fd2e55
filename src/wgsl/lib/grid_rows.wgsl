// Workgroups that follow each other take the rows of w one after another, for the same tile of x.
fn tile_of(workgroup_id: vec3<u32>) -> u32 {
  return workgroup_id.y;
}

// Which rows of w, counted in those of a workgroup.
fn rows_at(workgroup_id: vec3<u32>) -> u32 {
  return workgroup_id.x;
}

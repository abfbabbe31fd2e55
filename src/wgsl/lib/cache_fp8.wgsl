// Pages of keys and values in e4m3, eight elements or two scales at a time, which are only read.
@group(0) @binding(5) var<storage, read> k_cache: array<vec2<u32>>;
@group(0) @binding(6) var<storage, read> v_cache: array<vec2<u32>>;

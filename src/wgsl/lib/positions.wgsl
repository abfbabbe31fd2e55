// Which positions a query sees, and where they lie. The kernel gives PAGE, WINDOW, KV_HEADS, page_table and
// params.max_pages.

// The first position that a query at `position` sees.
fn first_seen(position: u32) -> u32 {
  if (WINDOW > 0u) {
    return position - min(position, WINDOW - 1u);
  }
  return 0u;
}

// Where in the page table the page of a position stands.
fn page_index(sequence: u32, position: u32) -> u32 {
  var page = position / PAGE;
  if (WINDOW > 0u) {
    page %= params.max_pages;
  }
  return sequence * params.max_pages + page;
}

// Row of the first KV head at a position that lies on `page`.
fn page_row(page: u32, position: u32) -> u32 {
  return (page * PAGE + position % PAGE) * KV_HEADS;
}

fn cache_row(sequence: u32, position: u32) -> u32 {
  return page_row(page_table[page_index(sequence, position)], position);
}

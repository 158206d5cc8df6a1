//! HTTP/1.x as this relay speaks it: one request head in, at most one answer out, and bytes of a tunnel after that.

pub mod answer;
pub mod head;

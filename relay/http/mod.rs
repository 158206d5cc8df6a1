//! HTTP/1.x as this relay speaks it: one request head comes in and at most one answer goes out.
//! After a 200 the bytes belong to the tunnel.

pub mod answer;
pub mod head;

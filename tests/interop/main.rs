//! Programs that others wrote, as clients, balancers and readers of a running relay.
//!
//! `tests/run` installs them and runs these tests; a plain `cargo test` leaves them out.
#![cfg(test)]

mod certs;
mod fronts;
mod goaccess;
mod haproxy;
mod pac;
mod sni;
mod uploads;

#[path = "../foreign/mod.rs"]
mod foreign;
#[path = "../support/mod.rs"]
#[expect(
    dead_code,
    reason = "the target `integration` uses all of it, and warns of what nothing uses"
)]
mod support;

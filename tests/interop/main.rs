//! These tests need the programs of others: clients and balancers of a running relay, and readers
//! of what it wrote.
//!
//! `tests/run` installs the programs and runs these tests. A plain `cargo test` leaves them out.
#![cfg(test)]

mod certs;
mod fronts;
mod goaccess;
mod haproxy;
mod pac;
mod report;
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

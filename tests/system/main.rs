//! These tests need more of a machine than other programs: networks and disks of their own,
//! systemd's tools, a syslog server, a C compiler and root.
//!
//! `tests/run` installs the tools and runs these tests. A plain `cargo test` leaves them out.
#![cfg(test)]

mod activation;
mod demo;
mod docs;
mod fault;
mod loops;
mod namespace;
mod report_only;
mod resolv_conf;
mod slow_disk;
mod syslog;
mod trail;
mod units;
mod user;
mod watchdog;

#[path = "../foreign/mod.rs"]
mod foreign;
#[path = "../support/mod.rs"]
#[expect(
    dead_code,
    reason = "the target `integration` uses all of it, and warns of what nothing uses"
)]
mod support;

//! The target `integration`: tests that need nothing but cargo.
//!
//! Tests with other programs are in `interop`. Tests that need namespaces, systemd's tools or root
//! are in `system`.
#![cfg(test)]

mod activation;
mod answers;
mod audit_cli;
mod audit_copies;
mod audit_export;
mod audit_quiet;
mod audit_report;
mod audit_tail;
mod certs;
mod check;
mod cli;
mod clients;
mod dns;
mod docs;
mod draining;
mod fronts;
mod hostile;
mod inventory;
mod layering;
mod one_policy;
mod pac;
mod relaying;
mod reloading;
mod report_only;
mod sandbox;
mod sni;
mod support;
mod systemd;
mod trail;
mod uploads;

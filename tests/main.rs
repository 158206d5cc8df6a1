//! The integration tests, one crate so that they link once.
#![cfg(test)]

mod answers;
mod audit_cli;
mod certs;
mod check;
mod cli;
mod clients;
mod dns;
mod draining;
mod fronts;
mod hostile;
mod layering;
mod pac;
mod relaying;
mod reloading;
mod report_only;
mod support;
mod syslog;
mod trail;

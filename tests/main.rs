//! The integration tests, one crate so that they link once.
#![cfg(test)]

mod check;
mod dns;
mod layering;
mod relaying;
mod support;
mod trail;

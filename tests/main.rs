//! The integration tests, one crate so that they link once.
#![cfg(test)]

mod layering;

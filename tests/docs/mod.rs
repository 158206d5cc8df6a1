//! The pages: generated ones match the code, and what they name exists. `tests/system/docs.rs` runs
//! what they show to type or to write.

mod blocks;
mod generated;
mod reference;
mod references;

//! The pages: what is generated is as the code has it, what they name exists, and what they show to type or to write works.

mod generated;
mod pages;
mod reference;
mod references;
mod session;

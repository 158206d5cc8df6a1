//! Probes the way to each destination: this is the engine of `check`. It walks hop by hop, and
//! tells what each hop showed.
//!
//! A walk goes the relay's own way: its resolver, its policy, its dialer. The relay's configuration
//! isn't known here, so that the admin port can ask for a walk too: the caller hands over
//! [`ProbeOptions`]. What is found comes back as values, because only the CLI prints.
//!
//! The files build on each other in this order, and never the other way round:
//!
//! - `finding`, `roots`, `certificate`, `target`, `text`: the vocabulary, without a socket;
//! - `walk`: the findings of one host;
//! - `verdict`: what a handshake means, in words;
//! - `handshake`, `answer`: one hop each;
//! - `walker`: all hops of one host; `walks`: all hosts.

mod answer;
mod certificate;
mod finding;
mod handshake;
mod roots;
mod target;
mod text;
mod verdict;
mod walk;
mod walker;
mod walks;

pub use finding::{Finding, Hop, HopStatus};
pub use roots::{RootsError, TrustStores};
pub use walk::{HopFinding, Walk};
pub use walker::ProbeOptions;
pub use walks::{WalkError, Walks};

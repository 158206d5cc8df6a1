//! What the targets `interop` and `system` share beyond `support`: the tools that they run, and a
//! server for those tools that upload by HTTP.

pub(crate) mod http;
pub(crate) mod tools;

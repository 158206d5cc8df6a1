//! What the targets `interop` and `system` share beyond `support`: the programs that others wrote, and a server for those among
//! them that upload by HTTP.

pub(crate) mod http;
pub(crate) mod tools;

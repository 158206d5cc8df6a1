//! callhome-relay: one box in the DMZ that machines may call home through, and do nothing else.
//!
//! Modules stand in layers and import downwards only (`tests/layering.rs` holds the table):
//!
//! | layer | modules | |
//! |---|---|---|
//! | 8 | `cli` | a file a command |
//! | 7 | `app` | Config → bind and wire → run → drain |
//! | 6 | `config` | the file, checked; each part below has its own options |
//! | 5 | `server` `admin` | the listeners and the one line a CONNECT takes; health and metrics |
//! | 4 | `audit` | the trail |
//! | 3 | `dns` `dial` `tunnel` | one effect each |
//! | 2 | `telemetry` `os` | metrics and logs; what only the kernel knows, and what it is told to forbid (`os::sandbox`) |
//! | 1 | `policy` `http` `tls` `pac` `proxy_protocol` | pure: no runtime, no sockets, no clock |
//! | 0 | `authority` `proxy_error` | the vocabulary |

pub mod admin;
pub mod app;
pub mod audit;
pub mod authority;
pub mod cli;
pub mod config;
pub mod dial;
pub mod dns;
pub mod http;
pub mod os;
pub mod pac;
pub mod policy;
pub mod proxy_error;
pub mod proxy_protocol;
pub mod server;
pub mod telemetry;
pub mod tls;
pub mod tunnel;

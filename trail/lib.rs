//! callhome-trail: what a record of the audit trail is, and how a trail is read and proved.
//!
//! The relay writes with this package, and the auditor's commands read with it. It needs no async
//! runtime and opens no socket.
//!
//! | module | what it has |
//! |---|---|
//! | `record` `data` `words` `reason` `text` | a record, the data of events, the words |
//! | `counted` | refusals that were counted together |
//! | `inventory` | who is expected to call home |
//! | `jumps` | what a wrong clock may not make older |
//! | `hash` `chain` `key` | the lines, the hashes that tie them, the keys that sign checkpoints |
//! | `segments` `seals` `head` | the files of a directory |
//! | `reader` `follow` | the lines of a trail, once or as they come |
//! | `span` `seen` | which records are wanted, and which were read before |
//! | `verify` | the proof |
//! | `fleet` | who has called home, and who hasn't |
//! | `report` `export` `schema` | a month's sum, other programs' formats, the JSON Schema |
//! | `escape` `harmless` `human` | text that comes in, text that goes out, quantities for people |

mod chain;
mod counted;
mod data;
mod escape;
pub mod export;
pub mod fleet;
mod follow;
pub mod harmless;
mod hash;
mod head;
pub mod human;
mod inventory;
mod jumps;
mod key;
mod reader;
mod reason;
mod record;
#[cfg(feature = "report")]
pub mod report;
mod schema;
pub mod seals;
mod seen;
pub mod segments;
mod span;
mod text;
pub mod verify;
mod words;

pub use chain::{Chain, Line, LineError, VERSION};
pub use counted::{Counted, CountedEnd};
pub use data::{
    AuditGap, Checkpoint, ClockConfirmed, ClockStepped, ConfigLoaded, ConfigRejected, Data,
    InventoryPart, Oldest, Range, Refusals, RefusedDestination, RelayStarted, RelayStopped,
    TextPart, TrailPruned,
};
pub use escape::{MAX_RAW, escape, unescape};
pub use follow::Follower;
pub use hash::Hash;
pub use head::{HEAD, Head, HeadFile};
pub use inventory::{ExpectedClient, Inventory, InventoryParts, ListedDestination};
pub use jumps::{DAY, Jump, Jumps};
pub use key::{PublicKey, SigningKey};
pub use reader::{Place, RawLine, Reader};
pub use reason::{Alert, ProxyErrorType, Reason, Verdict};
pub use record::{Client, Millis, Record, Target, Tls};
pub use schema::schema;
pub use seen::Seen;
pub use span::TimeSpan;
pub use text::Text;
pub use words::{ABANDONED, Decision, Event, Outcome, Upload};

//! How far a server has the trail: the last record that it surely has, and the records on their
//! way.
//!
//! Syslog has no acknowledgement. Bytes that the kernel took may still be lost with the connection.
//! A server that hangs leaves bytes unread that its kernel has acknowledged.
//!
//! So a record counts as received only when its connection was closed in order, which `transport`
//! does. Now and then a connection is closed for that alone. All other records are sent again, and
//! a reader of the copy passes over lines that come twice.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::super::files;
use super::ShipSource;

/// The content of `ship.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Saved {
    trail: String,
    /// The last record that each server surely has. All servers are kept, so that one that is
    /// configured again goes on where it was.
    servers: BTreeMap<String, u64>,
}

#[derive(Debug)]
pub(super) struct Position {
    path: PathBuf,
    server: String,
    saved: Saved,
    /// The last record that the server surely has. It may be ahead of the file.
    received: u64,
    /// The records that were sent after it.
    on_the_way: Option<OnTheWay>,
}

#[derive(Debug)]
struct OnTheWay {
    /// When the first of them was sent.
    since: Instant,
    /// The last of them.
    seq: u64,
}

impl Position {
    /// Reads the position from the file. Another server, or another trail, begins with the first
    /// record.
    pub(super) fn load(source: &ShipSource<'_>, server: &str) -> Self {
        let path = source.directory.join(NAME);
        let saved: Option<Saved> = fs::read(&path)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        let saved = saved
            .filter(|saved| saved.trail == source.trail)
            .unwrap_or_else(|| Saved {
                trail: source.trail.to_owned(),
                servers: BTreeMap::new(),
            });
        let shipped = saved.servers.get(server).copied().unwrap_or(0);
        if shipped > source.last {
            tracing::warn!(
                server,
                shipped,
                last = source.last,
                "the audit trail ends before what was shipped: it was cut, and the server can prove it"
            );
        }
        Self {
            path,
            server: server.to_owned(),
            saved,
            // The records that reuse the numbers of the lost ones are shipped too, so that the
            // server has both as evidence.
            received: shipped.min(source.last),
            on_the_way: None,
        }
    }

    /// The last record that the server surely has.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// How many records are on their way.
    pub(super) fn unconfirmed(&self) -> u64 {
        self.on_the_way
            .as_ref()
            .map_or(0, |sent| sent.seq.saturating_sub(self.received))
    }

    /// Whether the records on their way are as many as a reader can recognise if they come twice.
    pub(super) fn is_full(&self) -> bool {
        self.unconfirmed() >= MOST_ON_THE_WAY
    }

    /// Whether a record has been on its way for longer than `than`.
    pub(super) fn is_older(&self, than: Duration) -> bool {
        self.on_the_way
            .as_ref()
            .is_some_and(|sent| sent.since.elapsed() >= than)
    }

    /// Whether no record is on its way.
    pub(super) fn is_settled(&self) -> bool {
        self.on_the_way.is_none()
    }

    /// Notes that the transport took this record.
    pub(super) fn sent(&mut self, seq: u64) {
        self.on_the_way
            .get_or_insert_with(|| OnTheWay {
                since: Instant::now(),
                seq,
            })
            .seq = seq;
    }

    /// Notes that the connection was closed in order, so every record has arrived.
    pub(super) fn confirmed(&mut self) {
        if let Some(sent) = self.on_the_way.take() {
            self.received = sent.seq;
        }
    }

    /// Notes that the connection broke, so the records on their way must be sent again.
    pub(super) fn broke(&mut self) {
        self.on_the_way = None;
    }

    /// Saves the position, if the file is behind.
    pub(super) fn save(&mut self) -> io::Result<()> {
        if self.saved.servers.get(&self.server) == Some(&self.received) {
            return Ok(());
        }
        let mut saved = self.saved.clone();
        saved.servers.insert(self.server.clone(), self.received);
        let text = serde_json::to_vec(&saved).map_err(io::Error::from)?;
        files::replace(&self.path, &text, 0o640)?;
        self.saved = saved;
        Ok(())
    }
}

const NAME: &str = "ship.json";
/// The records on their way at most: well below the number that `verify` looks back for a
/// duplicate.
const MOST_ON_THE_WAY: u64 = 8 * 1024;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn load(directory: &Path, server: &str, trail: &str, last: u64) -> Position {
        let source = ShipSource {
            directory,
            relay: "r",
            trail,
            last,
        };
        Position::load(&source, server)
    }

    #[test]
    fn only_what_was_confirmed_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let again = |server, trail, last| load(directory.path(), server, trail, last).received();
        let mut it = load(directory.path(), "tcp://a:1", "t", 9);
        it.sent(1);
        it.confirmed();
        it.sent(2);
        assert_eq!((it.received(), it.unconfirmed()), (1, 1));
        it.broke();
        assert_eq!((it.received(), it.unconfirmed()), (1, 0));
        it.save().unwrap();
        assert_eq!(again("tcp://a:1", "t", 9), 1);

        it.sent(2);
        it.sent(3);
        assert!(it.is_older(Duration::ZERO) && !it.is_older(Duration::from_hours(1)));
        it.confirmed();
        assert!(it.is_settled());
        it.save().unwrap();
        assert_eq!(again("tcp://a:1", "t", 9), 3);
        let mut other = load(directory.path(), "tcp://b:1", "t", 9);
        assert_eq!(other.received(), 0, "another server");
        other.sent(5);
        other.confirmed();
        other.save().unwrap();
        assert_eq!(again("tcp://b:1", "t", 9), 5);
        assert_eq!(again("tcp://a:1", "t", 9), 3, "the first one again");
        assert_eq!(again("tcp://a:1", "u", 9), 0, "another trail");
        assert_eq!(again("tcp://a:1", "t", 2), 2, "a trail that was cut");
        fs::write(directory.path().join(NAME), "{").unwrap();
        assert_eq!(again("tcp://a:1", "t", 9), 0, "a spoilt file");
    }
}

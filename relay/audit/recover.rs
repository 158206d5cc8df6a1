//! What a start finds: where the trail ended, what a crash tore, which tunnels it cut off, what is missing.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead};
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::chain::{Chain, Hash, Line};
use super::files;
use super::record::{Data, Outcome};
use super::seal::PublicKey;
use super::segments::{self, ACTIVE};
use super::store::Head;

/// A directory that is ready to be written again, and what has to be written first.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) chain: Chain,
    /// Records that head.json knows and the segments don't have.
    pub(super) gap: Option<Data>,
    /// The last record of each tunnel without an end.
    pub(super) lost: Vec<Map<String, Value>>,
    /// The key that the last checkpoint named.
    pub(super) successor: Option<PublicKey>,
}

/// The last whole record, and what of the trail's state it leaves behind.
#[derive(Default)]
struct Tail {
    last: Option<(Box<str>, u64, Hash)>,
    open: BTreeMap<String, Map<String, Value>>,
    successor: Option<PublicKey>,
}

/// Puts a locked directory in order. Nothing is deleted: torn bytes move to a file of their own.
pub(super) fn recover(directory: &Path) -> io::Result<Recovered> {
    remove_temporaries(directory)?;
    set_torn_bytes_aside(&directory.join(ACTIVE))?;
    let left = read_tail(directory)?;
    let head = Head::load(directory);
    let head =
        head.and_then(|head| Some((head.trail, head.seq, Hash::parse(head.hash.as_bytes())?)));

    let (end, gap) = match (left.last, head) {
        (None, None) => (None, None),
        (Some(last), None) => (Some(last), None),
        (Some(last), Some(head)) if last.1 >= head.1 => (Some(last), None),
        (last, Some(head)) => {
            let gap = Data::Gap {
                from: Some(last.map_or(1, |last| last.1 + 1)),
                to: Some(head.1),
                count: None,
                cause: "missing at the start: the trail is shorter than it was".into(),
            };
            (Some(head), Some(gap))
        }
    };
    let chain = match end {
        Some((trail, seq, hash)) => Chain::resume(trail, seq + 1, hash),
        None => Chain::new(Uuid::now_v7().to_string().into_boxed_str()),
    };
    Ok(Recovered {
        chain,
        gap,
        lost: left.open.into_values().map(as_lost).collect(),
        successor: left.successor,
    })
}

fn remove_temporaries(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        // Only what this relay writes and renames; the source is still there.
        if path.extension() == Some("tmp".as_ref()) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Moves what follows the last whole record of the segment into a `torn-…` file.
fn set_torn_bytes_aside(active: &Path) -> io::Result<()> {
    let bytes = match fs::read(active) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let whole = whole_length(&bytes);
    if whole == bytes.len() {
        return Ok(());
    }
    let name = format!("torn-{}.bin", Timestamp::now().as_millisecond());
    let torn = active.with_file_name(name);
    let mut file = files::create(&torn)?;
    io::Write::write_all(&mut file, &bytes[whole..])?;
    file.sync_all()?;
    files::sync_directory(&torn)?;
    let active = OpenOptions::new().write(true).open(active)?;
    active.set_len(whole as u64)?;
    active.sync_all()?;
    tracing::warn!(bytes = bytes.len() - whole, kept = %torn.display(), "a torn end of the trail was set aside");
    Ok(())
}

/// Up to where lines are whole records. A bad line with good ones behind it isn't torn but changed; it stays, to be found.
fn whole_length(bytes: &[u8]) -> usize {
    let mut end = bytes
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |at| at + 1);
    while end > 0 {
        let start = bytes[..end - 1]
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |at| at + 1);
        if Line::parse(&bytes[start..end - 1]).is_ok() {
            return end;
        }
        end = start;
    }
    // Not one good record: a file that isn't ours, or was spoilt. Its lines stay.
    bytes
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |at| at + 1)
}

/// Reads the newest segments, as far back as a tunnel can have been silent: an open one says so every hour.
fn read_tail(directory: &Path) -> io::Result<Tail> {
    let segments = segments::list(directory)?;
    let newest = segments
        .last()
        .map(|segment| segment.time)
        .unwrap_or_default();
    let recent = |time: Timestamp| newest.duration_since(time) <= SILENCE;
    // The first segment that began before then has the rest.
    let from = segments
        .iter()
        .rposition(|segment| !recent(segment.time))
        .unwrap_or(0);
    let mut tail = Tail::default();
    for segment in &segments[from.min(segments.len())..] {
        for line in segments::open(&segment.path)?.split(b'\n') {
            if let Ok(line) = Line::parse(&line?) {
                tail.take(&line);
            }
        }
    }
    if tail.successor.is_none() {
        tail.successor = last_seal(directory);
    }
    Ok(tail)
}

impl Tail {
    fn take(&mut self, line: &Line<'_>) {
        if self.last.as_ref().is_none_or(|last| line.seq > last.1) {
            self.last = Some((line.trail.as_ref().into(), line.seq, line.hash));
        }
        match &*line.event {
            "tunnel_opened" | "tunnel_progress" => {
                if let Some((session, members)) = line.session() {
                    self.open.insert(session, members);
                }
            }
            "tunnel_closed" | "tunnel_lost" => {
                if let Some((session, _)) = line.session() {
                    self.open.remove(&session);
                }
            }
            "checkpoint" => self.successor = line.successor(),
            _ => {}
        }
    }
}

fn last_seal(directory: &Path) -> Option<PublicKey> {
    let text = fs::read(directory.join(super::store::SEALS)).ok()?;
    let line = text.trim_ascii_end().rsplit(|b| *b == b'\n').next()?;
    Line::parse(line).ok()?.successor()
}

/// What is known of a tunnel whose end nobody saw.
fn as_lost(mut members: Map<String, Value>) -> Map<String, Value> {
    for key in [
        "v", "trail", "seq", "time", "relay", "event", "prev", "hash",
    ] {
        members.shift_remove(key);
    }
    members.insert(
        "outcome".into(),
        serde_json::to_value(Outcome::Lost).unwrap_or_default(),
    );
    members.insert(
        "error".into(),
        "the relay ended without a word of this tunnel's end".into(),
    );
    members
}

/// Somewhat over the hour after which an open tunnel is heard of again, and the clock may have been set meanwhile.
const SILENCE: SignedDuration = SignedDuration::from_hours(3);

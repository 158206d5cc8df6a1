//! Finds the tunnels of earlier runs that have no end in the trail, while the relay serves.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use callhome_trail::segments;
use callhome_trail::{Event, Line, Outcome, Record};
use serde::Deserialize;

use super::tail::{each_line, warn_of};

/// The records among which there may be tunnels without an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::audit) struct LostSearch {
    pub(super) directory: PathBuf,
    /// The first record that may be of such a tunnel.
    pub(super) from: u64,
    /// The last record of the earlier runs.
    pub(super) to: u64,
}

impl LostSearch {
    /// The first record that may be of such a tunnel.
    pub(in crate::audit) fn from(&self) -> u64 {
        self.from
    }

    /// Reads the records, and returns a closing record for each tunnel without an end. Returns none
    /// once `stop` is set.
    pub(in crate::audit) fn run(&self, stop: &AtomicBool) -> io::Result<Option<Vec<Record>>> {
        let (segments, active) = segments::list_held(&self.directory)?;
        let begin = segments.iter().rposition(|it| it.first <= self.from);
        let mut active = active;
        let mut open = HashMap::new();
        for segment in &segments[begin.unwrap_or(0)..] {
            if segment.first > self.to {
                break;
            }
            // The active segment may have been closed since it was listed.
            let held = active.take_if(|_| segments::is_active(&segment.path));
            let input = match held {
                Some(file) => segments::decode(&segment.path, file),
                None => segments::open_listed(&segment.path)
                    .and_then(|(path, file)| segments::decode(&path, file)),
            };
            let read = input.and_then(|mut input| {
                each_line(&mut input, |line| {
                    if line.seq >= self.from && line.seq <= self.to {
                        take(line, &mut open);
                    }
                    line.seq < self.to && !stop.load(Ordering::Relaxed)
                })
            });
            if let Err(error) = read {
                warn_of(&segment.path, &error);
            }
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
        }
        Ok(Some(lost(open)))
    }
}

/// Takes a record of a tunnel. `open` has the last line of each tunnel without an end, by session.
fn take(line: &Line<'_>, open: &mut HashMap<Box<str>, Box<[u8]>>) {
    #[derive(Deserialize)]
    struct Session<'a> {
        #[serde(borrow)]
        session: Option<Cow<'a, str>>,
    }
    let is_open = match &*line.event {
        "tunnel_opened" | "tunnel_progress" => true,
        "tunnel_closed" | "tunnel_lost" => false,
        _ => return,
    };
    // A longer record isn't the relay's, and one made from it would break the trail.
    if line.bytes.len() > LONGEST {
        return;
    }
    let Ok(Session {
        session: Some(session),
    }) = serde_json::from_slice(line.bytes)
    else {
        return;
    };
    if is_open {
        open.insert(session.into(), line.bytes.into());
    } else {
        open.remove(&*session);
    }
}

/// Turns the last record of each tunnel into a closing one, in the order of the trail.
fn lost(open: HashMap<Box<str>, Box<[u8]>>) -> Vec<Record> {
    let record = |bytes: Box<[u8]>| Record::of(&Line::parse(&bytes).ok()?);
    let mut records: Vec<_> = open.into_values().filter_map(record).collect();
    records.sort_by_key(|record| record.seq);
    for record in &mut records {
        record.event = Event::TunnelLost;
        record.outcome = Some(Outcome::Lost);
        record.error = Some("the relay ended without a word of this tunnel's end".into());
    }
    records
}

/// No record of a session comes near this, because what a client sends is bounded.
const LONGEST: usize = 64 * 1024;

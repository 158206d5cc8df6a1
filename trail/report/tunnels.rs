//! Which moment a tunnel's upload belongs to.
//!
//! It is the tunnel's opening, or the last `tunnel_progress` in which the bytes to the destination
//! grew. The end may be days later, and the end of a lost tunnel is only told by the next start.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::month::{Days, Month};
use crate::record::Record;
use crate::words::{Event, Upload};

/// The tunnels of a trail that are open, by session.
#[derive(Debug, Default)]
pub(super) struct MonthTunnels(BTreeMap<Box<str>, TunnelSoFar>);

#[derive(Debug)]
struct TunnelSoFar {
    dated: Dated,
    bytes_up: u64,
    /// The last record, if it says that the tunnel has carried an upload so far.
    probable: Option<Box<Record>>,
}

/// When a tunnel carried something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dated {
    pub(super) at: Timestamp,
    /// The days of the month on which it was opened or its bytes grew.
    pub(super) days: Days,
}

impl MonthTunnels {
    /// Takes the record of a tunnel's opening, or of its progress.
    pub(super) fn note(&mut self, record: &Record, month: Month) {
        let Some(session) = &record.session else {
            return;
        };
        if record.event == Event::TunnelOpened || !self.0.contains_key(&**session) {
            let dated = Dated::of_begin(record, month);
            self.0.insert(Box::from(&**session), TunnelSoFar::at(dated));
            // A forged trail may open tunnels without end. The first session is the oldest.
            if self.0.len() > MOST {
                self.0.pop_first();
            }
        }
        let Some(tunnel) = self.0.get_mut(&**session) else {
            return;
        };
        if record.bytes_up > tunnel.bytes_up {
            tunnel.bytes_up = record.bytes_up;
            tunnel.dated.at = record.time;
            if let Some(day) = month.day(record.time) {
                tunnel.dated.days.insert(day);
            }
        }
        let is_probable = record.upload == Some(Upload::Probable);
        tunnel.probable = is_probable.then(|| Box::new(record.clone()));
    }

    /// Takes the last record of a tunnel. Returns none if nothing tells when the tunnel was open.
    pub(super) fn close(&mut self, record: &Record, month: Month) -> Option<Dated> {
        let open = record.session.as_ref().and_then(|it| self.0.remove(&**it));
        match open {
            Some(open) => Some(open.dated),
            // It comes after the next start, so its own time tells nothing.
            None if record.event == Event::TunnelLost => None,
            None => Some(Dated::of_begin(record, month)),
        }
    }

    /// The tunnels that are left open and have carried an upload so far.
    pub(super) fn left(self) -> impl Iterator<Item = (Box<Record>, Dated)> {
        let open = self.0.into_values();
        open.filter_map(|open| Some((open.probable?, open.dated)))
    }
}

impl TunnelSoFar {
    fn at(dated: Dated) -> Self {
        Self {
            dated,
            bytes_up: 0,
            probable: None,
        }
    }
}

impl Dated {
    /// Dates a tunnel of which this is the first record. The others may be pruned or missing.
    fn of_begin(record: &Record, month: Month) -> Self {
        let lasted = match record.event {
            Event::TunnelOpened => 0.0,
            _ => record.duration_ms.0,
        };
        let at = Duration::try_from_secs_f64(lasted / 1000.0)
            .ok()
            .and_then(|lasted| SignedDuration::try_from(lasted).ok())
            .and_then(|lasted| record.time.checked_sub(lasted).ok())
            .unwrap_or(record.time);
        Self {
            at,
            days: month.day(at).into_iter().collect(),
        }
    }
}

/// How many open tunnels are remembered.
const MOST: usize = 16_384;

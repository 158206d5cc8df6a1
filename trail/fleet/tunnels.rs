//! The tunnels that are open, so that their uploads can be dated.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::account::UploadTimes;
use super::clock::Mark;
use crate::record::Record;
use crate::words::Event;

/// The open tunnels of a trail, by session.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct OpenTunnels(BTreeMap<String, OpenTunnel>);

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct OpenTunnel {
    opened: Mark,
    bytes_up: u64,
    /// The last `tunnel_progress` in which `bytes_up` grew.
    grew: Option<Mark>,
}

impl OpenTunnels {
    /// Takes a record of a tunnel. Returns when its upload was, if that is known: at its opening,
    /// or at the last `tunnel_progress` in which `bytes_up` grew.
    ///
    /// `tunnel_lost` comes after the next start, so its own time tells nothing.
    pub(super) fn take(&mut self, record: &Record, mark: Mark) -> Option<UploadTimes> {
        let session = record.session.as_deref()?;
        let opening = || OpenTunnel::at(mark.earlier(lasted(record)));
        match record.event {
            Event::TunnelOpened => {
                if record.billing != Some(false) {
                    self.insert(session, OpenTunnel::at(mark));
                }
                None
            }
            Event::TunnelProgress => {
                if !self.0.contains_key(session) {
                    self.insert(session, opening());
                }
                let tunnel = self.0.get_mut(session)?;
                if record.bytes_up > tunnel.bytes_up {
                    tunnel.bytes_up = record.bytes_up;
                    tunnel.grew = Some(mark);
                }
                Some(tunnel.times())
            }
            Event::TunnelClosed => {
                let tunnel = self.0.remove(session).unwrap_or_else(opening);
                Some(tunnel.times())
            }
            Event::TunnelLost => self.0.remove(session).map(|tunnel| tunnel.times()),
            _ => None,
        }
    }

    /// Ids of sessions are in the order of time, so the first is the oldest.
    fn insert(&mut self, session: &str, tunnel: OpenTunnel) {
        self.0.insert(session.to_owned(), tunnel);
        if self.0.len() > MOST {
            self.0.pop_first();
        }
    }
}

impl OpenTunnel {
    fn at(opened: Mark) -> Self {
        Self {
            opened,
            bytes_up: 0,
            grew: None,
        }
    }

    fn times(&self) -> UploadTimes {
        UploadTimes {
            at: self.grew.unwrap_or(self.opened),
            opened: self.opened,
        }
    }
}

/// How long the session of a record has lasted.
fn lasted(record: &Record) -> SignedDuration {
    let seconds = record.duration_ms.0 / 1000.0;
    SignedDuration::try_from_secs_f64(seconds).unwrap_or_default()
}

const MOST: usize = 16_384;

//! Finds in the trail when each client uploaded last, for the metrics of a relay that has just
//! started.

use std::collections::HashMap;
use std::io::{self, BufRead as _, Read as _};
use std::path::Path;

use callhome_trail::segments::{self, MAX_LINE};
use callhome_trail::{Event, ExpectedClient, Line, Record, Upload};
use jiff::{SignedDuration, Timestamp};

/// The clients whose last upload is looked for, and what was found.
#[derive(Debug, Default)]
pub(super) struct LastUploads {
    /// Each client by its name and its former ones.
    wanted: HashMap<String, String>,
    /// The clients of which nothing is found yet.
    missing: Vec<String>,
    found: HashMap<String, Timestamp>,
    /// What is found in the segment that is being read.
    here: HashMap<String, Timestamp>,
    /// How many bytes had gone up at the last `tunnel_progress` of a session in this segment, and
    /// to when its last upload is dated.
    sessions: HashMap<String, (u64, Timestamp)>,
}

impl LastUploads {
    pub(super) fn of(clients: &[ExpectedClient]) -> Self {
        let mut uploads = Self::default();
        for client in clients {
            uploads.missing.push(client.name.to_string());
            for name in client.formerly.iter().chain([&client.name]) {
                let wanted = &mut uploads.wanted;
                wanted.insert(name.to_string(), client.name.to_string());
            }
        }
        uploads
    }

    /// Reads segments from the newest one back until every client is found, the trail is older than
    /// anything that is judged, or `is_over`. Returns the clients that were found.
    pub(super) fn search(
        mut self,
        directory: &Path,
        now: Timestamp,
        is_over: impl Fn() -> bool,
    ) -> io::Result<HashMap<String, Timestamp>> {
        // No record is later than the segment behind it. What a wrong clock dated later counts as
        // of then.
        let mut latest = now;
        for segment in segments::list(directory)?.iter().rev() {
            let is_old = now.duration_since(latest) > OLDEST;
            if self.missing.is_empty() || is_old || is_over() {
                break;
            }
            // Damage is reported by recovery and by `audit verify`.
            let _ = self.read(&segment.path, &is_over);
            self.sessions.clear();
            for (client, time) in self.here.drain() {
                self.missing.retain(|missing| *missing != client);
                self.found.entry(client).or_insert(time.min(latest));
            }
            if segment.readable {
                latest = latest.min(segment.time);
            }
        }
        Ok(self.found)
    }

    fn read(&mut self, path: &Path, is_over: impl Fn() -> bool) -> io::Result<()> {
        let (path, file) = segments::open_listed(path)?;
        let mut input = segments::decode(&path, file)?;
        let mut bytes = Vec::new();
        for number in 0_u64.. {
            bytes.clear();
            let length = (&mut input).take(MAX_LINE).read_until(b'\n', &mut bytes)?;
            if length == 0 || number % 4096 == 0 && is_over() {
                break;
            }
            // Most records are of no interest, and parsing each would take long.
            if (contains(&bytes, PROBABLE) || contains(&bytes, STEPPED))
                && let Ok(line) = Line::parse(bytes.trim_ascii_end())
                && let Some(record) = Record::of(&line)
            {
                self.take(&record);
            }
        }
        Ok(())
    }

    fn take(&mut self, record: &Record) {
        if record.event == Event::ClockStepped {
            for time in self.here.values_mut() {
                *time = (*time).min(record.time);
            }
        }
        let name = record.client.as_ref().and_then(|it| it.name.as_deref());
        let client = name.and_then(|name| self.wanted.get(name)).cloned();
        let (Some(client), Some(Upload::Probable)) = (client, record.upload) else {
            return;
        };
        let Some(at) = self.dated(record) else {
            return;
        };
        let last = self.here.entry(client).or_insert(at);
        *last = (*last).max(at);
    }

    /// Dates an upload by the opening of its tunnel, or by the last `tunnel_progress` in which
    /// bytes had gone up. A lost tunnel is dated by the next start, so only its progress counts.
    fn dated(&mut self, record: &Record) -> Option<Timestamp> {
        #[expect(clippy::cast_possible_truncation, reason = "a cast saturates")]
        let open = SignedDuration::from_millis(record.duration_ms.0 as i64);
        let session = record.session.as_deref().unwrap_or_default();
        let known = self.sessions.get(session).copied();
        let is_progress = record.event == Event::TunnelProgress;
        let dated = match known {
            Some((up, _)) if is_progress && record.bytes_up > up => record.time,
            Some((_, dated)) => dated,
            None if is_progress && open < FIRST_PROGRESS => record.time,
            None if record.event == Event::TunnelLost => return None,
            None => record.time.checked_sub(open).ok()?,
        };
        if is_progress {
            self.sessions
                .insert(session.to_owned(), (record.bytes_up, dated));
        }
        Some(dated)
    }
}

fn contains(line: &[u8], word: &[u8]) -> bool {
    line.windows(word.len()).any(|window| window == word)
}

const PROBABLE: &[u8] = b"\"upload\":\"probable\"";
const STEPPED: &[u8] = b"\"event\":\"clock_stepped\"";
/// A tunnel that is younger than this has no `tunnel_progress` before.
const FIRST_PROGRESS: SignedDuration = SignedDuration::from_mins(90);
/// A client that has been silent for so long is overdue, however seldom it calls home.
const OLDEST: SignedDuration = SignedDuration::from_hours(60 * 24);

#[cfg(test)]
mod tests {
    use std::fs;

    use callhome_trail::Chain;
    use serde_json::json;

    use super::*;

    /// Writes a segment of records, each with its time and its members, and gives the chain.
    fn segment(directory: &Path, chain: &mut Chain, records: &[(&str, serde_json::Value)]) {
        let path = directory.join(format!("access-{:012}.jsonl", chain.next()));
        let mut text = Vec::new();
        for (time, members) in records {
            let members = members.to_string();
            let members = members.as_bytes();
            chain.append(
                time.parse().unwrap(),
                &members[1..members.len() - 1],
                &mut text,
            );
        }
        fs::write(path, text).unwrap();
    }

    fn tunnel(event: &str, session: &str, name: &str, minutes: u64, up: u64) -> serde_json::Value {
        let milliseconds = minutes * 60_000;
        json!({
            "relay": "r", "event": event, "session": session, "upload": "probable",
            "client": {"address": "10.0.0.1", "port": 1, "name": name},
            "bytes_up": up, "duration_ms": milliseconds,
        })
    }

    fn found(directory: &Path, names: &[&str], now: &str) -> Vec<(String, String)> {
        let client = |name: &&str| ExpectedClient {
            name: (*name).to_owned().into(),
            formerly: vec![format!("old-{name}").into()],
            role: None,
            version: None,
            since: Timestamp::UNIX_EPOCH,
            sources: Vec::new(),
            certificate_names: Vec::new(),
            expect_every: None,
            calls_home: true,
        };
        let clients: Vec<_> = names.iter().map(client).collect();
        let uploads = LastUploads::of(&clients);
        let found = uploads.search(directory, now.parse().unwrap(), || false);
        let mut found: Vec<_> = found.unwrap().into_iter().collect();
        found.sort();
        let row = |(name, time): (String, Timestamp)| (name, time.to_string());
        found.into_iter().map(row).collect()
    }

    #[test]
    fn an_upload_is_dated_by_its_opening_or_by_its_last_progress() {
        let directory = tempfile::tempdir().unwrap();
        let mut chain = Chain::new("t".into());
        let progress = |up| tunnel("tunnel_progress", "2", "b", 60, up);
        segment(
            directory.path(),
            &mut chain,
            &[
                (
                    "2026-11-01T10:00:00Z",
                    tunnel("tunnel_closed", "0", "old-a", 5, 1),
                ),
                (
                    "2026-11-01T10:00:00Z",
                    tunnel("tunnel_closed", "0", "c", 5, 1),
                ),
            ],
        );
        segment(
            directory.path(),
            &mut chain,
            &[
                (
                    "2026-11-02T10:00:00Z",
                    tunnel("tunnel_closed", "1", "c", 5, 1),
                ),
                ("2026-11-02T10:00:00Z", progress(10)),
                ("2026-11-02T11:00:00Z", progress(20)),
                ("2026-11-02T12:00:00Z", progress(20)),
                (
                    "2026-11-05T12:00:00Z",
                    tunnel("tunnel_lost", "2", "b", 180, 20),
                ),
            ],
        );
        let rows = found(directory.path(), &["a", "b", "c"], "2026-11-06T00:00:00Z");
        let expected = [
            ("a", "2026-11-01T09:55:00Z"),
            ("b", "2026-11-02T11:00:00Z"),
            ("c", "2026-11-02T09:55:00Z"),
        ];
        assert_eq!(
            rows,
            expected.map(|(name, time)| (name.to_owned(), time.to_owned()))
        );
        // More than 60 days later nothing is read any more.
        assert_eq!(found(directory.path(), &["a"], "2027-02-06T00:00:00Z"), []);
    }

    #[test]
    fn a_clock_that_was_ahead_makes_no_upload_later_than_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let mut chain = Chain::new("t".into());
        let stepped = json!({"relay": "r", "event": "clock_stepped", "data": {"seconds": -6e7}});
        segment(
            directory.path(),
            &mut chain,
            &[
                (
                    "2028-11-01T10:00:00Z",
                    tunnel("tunnel_closed", "0", "a", 5, 1),
                ),
                ("2026-11-01T10:30:00Z", stepped),
            ],
        );
        let now = "2026-11-20T00:00:00Z";
        let at = |time: &str| vec![("a".to_owned(), time.to_owned())];
        assert_eq!(
            found(directory.path(), &["a"], now),
            at("2026-11-01T10:30:00Z")
        );
        segment(
            directory.path(),
            &mut chain,
            &[(
                "2028-11-02T10:00:00Z",
                tunnel("tunnel_closed", "1", "b", 5, 1),
            )],
        );
        segment(
            directory.path(),
            &mut chain,
            &[(
                "2026-11-03T10:00:00Z",
                json!({"relay": "r", "event": "checkpoint", "data": {}}),
            )],
        );
        let b = found(directory.path(), &["b"], now);
        assert_eq!(b, [("b".to_owned(), "2026-11-03T10:00:00Z".to_owned())]);
    }
}

//! Refused because nothing could be written down.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use serde_json::Value;

use super::Row;
use crate::support::client::{self, ask, connect};
use crate::support::relay::Relay;

/// The trail is a pipe here. While nobody reads it, each write fails, as on a full disk; later somebody reads again.
pub(super) async fn audit_unavailable(row: &Row) {
    let mut pipe = None;
    let relay = Relay::start_prepared("[clients]\nunlisted = \"any\"\n", |directory| {
        pipe = Some(Pipe::make(&directory.join("access.jsonl")));
    })
    .await;
    let mut pipe = pipe.unwrap();
    let head = connect("a.example:443");
    pipe.until(|record| record["event"] == "config_loaded")
        .await;

    pipe.reader = None;
    // The first one finds out: its own record is what can't be written.
    assert_eq!(ask(relay.proxy, head.as_bytes()).await.status, 403);
    until_ready(&relay, 503, "audit trail").await;
    let mut refused = Vec::new();
    for _ in 0..3 {
        let answer = ask(relay.proxy, head.as_bytes()).await;
        refused.push(row.check_answer(&answer, ""));
    }

    // It recovers by itself, and nothing was lost on the way.
    pipe.open();
    until_ready(&relay, 200, "ready").await;
    let answer = ask(relay.proxy, head.as_bytes()).await;
    assert_eq!(answer.status, 403);
    pipe.until(|record| {
        answer
            .body
            .contains(record["session"].as_str().unwrap_or("none"))
    })
    .await;
    for pair in pipe.records.windows(2) {
        let [earlier, later] = [0, 1].map(|at: usize| pair[at]["seq"].as_u64().unwrap());
        assert_eq!(later, earlier + 1);
        assert_eq!(pair[1]["prev"], pair[0]["hash"]);
    }
    for session in refused {
        let mut records = pipe.records.iter().filter(|it| it["session"] == session);
        let record = records.next().expect("a record");
        assert_eq!(record["reason"], row.token);
        assert_eq!(record["event"], "request_failed");
        assert_eq!(record["outcome"], "failed");
        assert_eq!(record["decision"], Value::Null, "policy wasn't asked");
        assert!(records.next().is_none(), "one record a session");
    }
}

struct Pipe {
    path: PathBuf,
    reader: Option<File>,
    unread: Vec<u8>,
    records: Vec<Value>,
}

impl Pipe {
    fn make(path: &Path) -> Self {
        mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let mut pipe = Self {
            path: path.to_owned(),
            reader: None,
            unread: Vec::new(),
            records: Vec::new(),
        };
        pipe.open();
        pipe
    }

    fn open(&mut self) {
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(&self.path);
        self.reader = Some(file.unwrap());
    }

    /// Reads until a record is there that is wanted.
    async fn until(&mut self, wanted: impl Fn(&Value) -> bool) {
        let start = Instant::now();
        while !self.records.iter().any(&wanted) {
            assert!(start.elapsed() < PATIENCE, "{:?}", self.records);
            self.read();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn read(&mut self) {
        let mut buffer = [0; 4096];
        loop {
            match self.reader.as_mut().unwrap().read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => self.unread.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<_> = self.unread.drain(..=end).collect();
            self.records.push(serde_json::from_slice(&line).unwrap());
        }
    }
}

async fn until_ready(relay: &Relay, status: u16, says: &str) {
    let start = Instant::now();
    loop {
        let answer = client::get(relay.admin, "/readyz").await;
        if answer.status == status {
            assert!(answer.body.contains(says), "{answer:?}");
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const PATIENCE: Duration = Duration::from_secs(10);

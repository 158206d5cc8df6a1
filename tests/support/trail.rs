//! Trails that no relay has written: records as a test wants them, in a correct chain.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use callhome_relay::audit::{Audit, AuditOptions, OnFailure, Sync, WriterHandle};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::hostile;
use super::process::relay;
use super::tls::digest;

pub(crate) struct Trail {
    directory: TempDir,
    id: &'static str,
    text: String,
    seq: u64,
    prev: String,
}

impl Trail {
    pub(crate) fn new() -> Self {
        Self::named("t-1")
    }

    pub(crate) fn named(id: &'static str) -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            id,
            text: String::new(),
            seq: 1,
            prev: "0".repeat(64),
        }
    }

    /// Has one record for each hostile text and event, with the text wherever a record has text.
    pub(crate) fn hostile() -> Self {
        let mut trail = Self::new();
        for text in hostile::texts() {
            for event in ["request_denied", "tunnel_closed"] {
                let mut record = session(event, "2026-11-24T14:03:07.5Z", None);
                for (object, key) in [
                    ("", "listener"),
                    ("", "policy"),
                    ("", "relay"),
                    ("", "destination"),
                    ("", "reason"),
                    ("", "closed_by"),
                    ("", "error"),
                    ("", "session"),
                    ("client", "name"),
                    ("client", "role"),
                    ("client", "certificate"),
                    ("target", "raw"),
                    ("target", "address_source"),
                    ("tls", "sni"),
                ] {
                    let parent = if object.is_empty() {
                        &mut record
                    } else {
                        &mut record[object]
                    };
                    parent[key] = text.clone().into();
                }
                record["tls"]["alpn"] = json!([text]);
                if event == "tunnel_closed" {
                    record["target"]["host"] = text.clone().into();
                }
                trail.push(record);
            }
            let mut gap = event("audit_gap", "2026-11-24T14:03:08Z");
            gap["data"] = json!({"from": null, "to": null, "count": 3, "cause": text});
            trail.push(gap);
            let mut refusals = event("refusals", "2026-11-24T14:03:09Z");
            refusals["data"] = json!({
                "address": "10.9.9.9",
                "since": text,
                "count": u64::MAX,
                "reasons": {text: u64::MAX},
            });
            trail.push(refusals);
        }
        trail
    }

    /// Has one session for each kind of end that other programs' formats tell apart.
    pub(crate) fn ends() -> Self {
        let mut trail = Self::new();
        trail.push(event("relay_started", "2026-11-24T14:00:00Z"));
        trail.push(session("tunnel_opened", "2026-11-24T14:03:06Z", None));
        trail.push(session(
            "tunnel_closed",
            "2026-11-24T14:03:07.123456Z",
            None,
        ));
        let mut unlisted = session(
            "request_denied",
            "2026-11-24T14:03:08Z",
            Some("port_not_allowed"),
        );
        unlisted["client"]["name"] = Value::Null;
        unlisted["client"]["address"] = "fd00::1".into();
        unlisted["target"]["host"] = "2001:db8::1".into();
        trail.push(unlisted);
        let mut late = session(
            "tunnel_closed",
            "2026-11-24T14:03:09Z",
            Some("sni_mismatch"),
        );
        late["decision"] = "deny".into();
        trail.push(late);
        let mut failed = session(
            "request_failed",
            "2026-11-24T14:03:10Z",
            Some("connection_timeout"),
        );
        failed["decision"] = "allow".into();
        trail.push(failed);
        let mut left = session("request_failed", "2026-11-24T14:03:11Z", None);
        left["outcome"] = "abandoned".into();
        left["decision"] = "allow".into();
        trail.push(left);
        let mut other = session(
            "request_denied",
            "2026-11-24T14:03:12Z",
            Some("method_not_allowed"),
        );
        other["target"] = json!({"raw": "http://h/a b?***", "raw_length": 14, "host": null, "port": null, "address": null, "address_source": null});
        trail.push(other);
        let mut nothing = session(
            "request_denied",
            "2026-11-24T14:03:13Z",
            Some("request_timeout"),
        );
        nothing["target"] = json!({"raw": null, "raw_length": 0, "host": null, "port": null, "address": null, "address_source": null});
        trail.push(nothing);
        trail
    }

    pub(crate) fn push(&mut self, record: Value) {
        let Value::Object(members) = record else {
            panic!("{record}");
        };
        let mut line = json!({"v": 1, "trail": self.id, "seq": self.seq});
        line.as_object_mut().unwrap().extend(members);
        line["prev"] = self.prev.clone().into();
        let line = line.to_string();
        let hashed = line.strip_suffix('}').unwrap();
        self.prev = digest(hashed.as_bytes());
        writeln!(self.text, "{hashed},\"hash\":\"{}\"}}", self.prev).unwrap();
        self.seq += 1;
    }

    /// Returns how many records there are so far.
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.seq - 1).unwrap()
    }

    /// Returns the trail's lines, each with its line feed.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.split_inclusive('\n')
    }

    /// Writes a directory of closed segments, one for each line.
    pub(crate) fn segments(&self) -> PathBuf {
        let directory = self.beside("segments");
        std::fs::create_dir(&directory).unwrap();
        for (n, line) in (1..).zip(self.lines()) {
            let bytes = zstd::encode_all(line.as_bytes(), 3).unwrap();
            std::fs::write(directory.join(segment(n)), bytes).unwrap();
        }
        directory
    }

    /// Writes the trail's file now.
    pub(crate) fn file(&self) -> PathBuf {
        let file = self.directory.path().join("access.jsonl");
        std::fs::write(&file, &self.text).unwrap();
        file
    }

    /// Returns a path beside it.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// Returns the name of a closed segment that begins with this record.
pub(crate) fn segment(first: usize) -> String {
    format!("access-{first:012}.jsonl.zst")
}

/// Adds a line that is no record to a closed segment, so that a command which reads it notices.
pub(crate) fn spoil(segment: &Path) {
    let mut text = zstd::decode_all(&*std::fs::read(segment).unwrap()).unwrap();
    text.extend_from_slice(b"spoilt\n");
    std::fs::write(segment, zstd::encode_all(&*text, 3).unwrap()).unwrap();
}

/// Returns options for a trail that the relay's own writer makes and never prunes.
pub(crate) fn options(directory: &Path, rotate_size: u64) -> AuditOptions {
    AuditOptions {
        directory: Some(directory.to_owned()),
        stdout: false,
        rotate_size,
        rotate_every: Duration::from_hours(24),
        keep: Duration::from_hours(24),
        max_size: 1 << 40,
        sync: Sync::Every(Duration::from_millis(1)),
        on_failure: OnFailure::Refuse,
        seal_every: Duration::from_mins(10),
        syslog: None,
    }
}

/// Returns a session of `zvm-1` with everything that a session can have.
pub(crate) fn session(event: &str, time: &str, reason: Option<&str>) -> Value {
    let allowed = event.starts_with("tunnel");
    json!({
        "time": time,
        "relay": "dmz-1",
        "event": event,
        "session": "0197-1",
        "listener": "proxy",
        "policy": "7:3f2a",
        "client": {
            "address": "10.20.0.11",
            "port": 51514,
            "via": null,
            "certificate": null,
            "name": "zvm-1",
            "role": "zvm",
        },
        "target": {
            "raw": "CH3.zerto.com:443",
            "raw_length": 17,
            "host": "ch3.zerto.com",
            "port": 443,
            "address": allowed.then_some("20.0.0.1"),
            "address_source": allowed.then_some("dns"),
        },
        "upstream_local": allowed.then_some("192.0.2.7:40112"),
        "destination": "billing",
        "decision": if allowed { "allow" } else { "deny" },
        "enforced": true,
        "reason": reason,
        "outcome": if allowed { "closed" } else { "refused" },
        "closed_by": allowed.then_some("client"),
        "error": null,
        "tls": {"sni": "ch3.zerto.com", "alpn": ["h2"], "versions": ["1.3", "1.2"], "ech": false},
        "bytes_up": if allowed { 5123 } else { 0 },
        "bytes_down": if allowed { 2211 } else { 0 },
        "dns_ms": 3.1,
        "connect_ms": 21.0,
        "duration_ms": 841.2,
    })
}

/// Returns refusals of one address that were counted together.
pub(crate) fn refusals(time: &str, address: &str, reasons: &Value) -> Value {
    let count: u64 = reasons
        .as_object()
        .unwrap()
        .values()
        .map(|it| it.as_u64().unwrap())
        .sum();
    let mut record = event("refusals", time);
    record["data"] = json!({"address": address, "since": time, "count": count, "reasons": reasons});
    record
}

/// Returns the beginning of a record of the relay itself.
pub(crate) fn event(event: &str, time: &str) -> Value {
    json!({"time": time, "relay": "dmz-1", "event": event})
}

/// Runs `callhome-relay audit` to its end.
pub(crate) fn audit<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    relay().arg("audit").args(args).output().unwrap()
}

/// Does the same when it must succeed, and returns what it prints.
pub(crate) fn printed<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> String {
    let output = audit(args);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the trail in another program's format.
pub(crate) fn export(format: &str, trail: &Path) -> String {
    printed(["export", "--format", format, trail.to_str().unwrap()])
}

/// Returns the part of the Elastic Common Schema that the export uses.
pub(crate) fn ecs_schema() -> jsonschema::Validator {
    let schema = serde_json::from_str(include_str!("../data/ecs.schema.json")).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

/// Starts to write a trail on a directory that another start may have had before.
///
/// A test beside this one may be starting a process. Until that process runs its program it holds a
/// copy of each open file, and so the lock of a trail that was just closed.
pub(crate) fn start(options: &AuditOptions) -> (Audit, WriterHandle) {
    let began = Instant::now();
    loop {
        match Audit::start(options, "test", Arc::default()) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy => {
                assert!(began.elapsed() < Duration::from_secs(5), "{error}");
                thread::sleep(Duration::from_millis(5));
            }
            started => return started.unwrap(),
        }
    }
}

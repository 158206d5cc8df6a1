//! Reads the trail that the demo's relay has written, and verifies it over the file's raw bytes.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use callhome_trail::{Hash, Line};
use serde_json::Value;
use uuid::Uuid;

/// Holds the records of the trail's file, raw and parsed.
pub(super) struct DemoTrail {
    pub(super) lines: Vec<Vec<u8>>,
    records: Vec<Value>,
}

/// Owns a directory for the trail. Dropping the value removes the directory.
pub(super) struct Scratch(PathBuf);

impl DemoTrail {
    pub(super) fn read(directory: &Path) -> anyhow::Result<Self> {
        let text = fs::read(directory.join("access.jsonl"))?;
        let lines: Vec<_> = text
            .split_inclusive(|byte| *byte == b'\n')
            .map(|line| line.trim_ascii_end().to_vec())
            .collect();
        let records = lines
            .iter()
            .map(|line| serde_json::from_slice(line))
            .collect::<Result<_, _>>()
            .context("the trail holds a line that isn't JSON")?;
        Ok(Self { lines, records })
    }

    /// Finds the record that ended the session of the client with this address and port. Gives its
    /// number in the file too, counted from zero.
    pub(super) fn closing(&self, client: SocketAddr) -> Option<(usize, &Value)> {
        let of_client = |record: &Value| {
            record["client"]["address"] == client.ip().to_string()
                && record["client"]["port"] == client.port()
                && record["outcome"] != "open"
        };
        let at = self.records.iter().position(of_client)?;
        Some((at, &self.records[at]))
    }
}

/// Finds the first line that isn't chained to the line before it. Lines count from zero.
pub(super) fn first_broken(lines: &[Vec<u8>]) -> Option<usize> {
    let mut previous = Hash::GENESIS;
    lines
        .iter()
        .position(|bytes| match Line::after(&previous, bytes) {
            Some(line) => {
                previous = line.hash;
                false
            }
            None => true,
        })
}

impl Scratch {
    pub(super) fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("callhome-relay-demo-{}", Uuid::now_v7()));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A failure may stay: the system cleans up its temporary directory.
        let _ = fs::remove_dir_all(&self.0);
    }
}

//! The writer thread: numbers, chains and writes what the sessions hand over.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::thread;
use std::time::Duration;

use uuid::Uuid;

use super::chain::Chain;
use super::{Options, Pending, Shared};

/// Where lines go.
#[derive(Debug)]
pub(super) struct Sinks(Vec<Sink>);

#[derive(Debug)]
struct Sink {
    name: String,
    file: File,
    /// Lines, or the rest of one, that the output hasn't taken.
    unwritten: Vec<u8>,
}

impl Sinks {
    pub(super) fn open(options: &Options) -> io::Result<Self> {
        let mut sinks = Vec::new();
        if let Some(directory) = &options.directory {
            DirBuilder::new()
                .recursive(true)
                .mode(0o750)
                .create(directory)?;
            let path = directory.join(FILE);
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o640)
                .open(&path)?;
            sinks.push(Sink::new(path.display().to_string(), file));
        }
        if options.stdout {
            // The descriptor itself: behind io::Stdout's buffer nobody knows what has been written.
            let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
            sinks.push(Sink::new("standard output".into(), file));
        }
        Ok(Self(sinks))
    }

    /// Gives every output what it hasn't taken yet. The first failure is returned, after all were tried.
    fn flush(&mut self) -> Result<(), (String, io::Error)> {
        let mut result = Ok(());
        for sink in &mut self.0 {
            if let Err(error) = sink.flush() {
                result = result.and(Err((sink.name.clone(), error)));
            }
        }
        result
    }
}

impl Sink {
    fn new(name: String, file: File) -> Self {
        Self {
            name,
            file,
            unwritten: Vec::new(),
        }
    }

    /// Writes on from the byte where the last call failed, so that a full disk tears no line.
    fn flush(&mut self) -> io::Result<()> {
        let mut written = 0;
        let result = loop {
            if written == self.unwritten.len() {
                break Ok(());
            }
            match self.file.write(&self.unwritten[written..]) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.unwritten.drain(..written);
        if self.unwritten.capacity() > KEEP_BUFFER {
            self.unwritten.shrink_to(KEEP_BUFFER);
        }
        result
    }
}

/// Runs until the trail is closed and written.
pub(super) fn run(shared: &Shared, mut sinks: Sinks) {
    let mut chain = Chain::new(Uuid::now_v7().to_string().into_boxed_str());
    let mut lines = Vec::new();
    loop {
        let (records, closing) = wait(shared);
        shared.metrics.audit_records.inc_by(records.len() as u64);
        lines.clear();
        for record in records {
            chain.append(&members(&record), &mut lines);
        }
        for sink in &mut sinks.0 {
            sink.unwritten.extend_from_slice(&lines);
        }
        let result = sinks.flush();
        report(shared, result.as_ref().err());
        if closing && shared.lock().records.is_empty() {
            return;
        }
        // Sessions that end within the same moment share a write and a wake-up.
        thread::sleep(if result.is_ok() { COALESCE } else { RETRY });
    }
}

/// Waits for records, or for a reason to try again.
fn wait(shared: &Shared) -> (Vec<Pending>, bool) {
    let mut queue = shared.lock();
    while queue.records.is_empty() && !queue.closing && !queue.unavailable {
        queue = shared
            .wake
            .wait(queue)
            .unwrap_or_else(std::sync::PoisonError::into_inner);
    }
    (std::mem::take(&mut queue.records), queue.closing)
}

fn members(record: &Pending) -> Vec<u8> {
    let mut out = Vec::with_capacity(record.members.len() + 48);
    // Writing to a Vec can't fail.
    let _ = write!(out, "\"time\":\"{:.6}\",", record.time);
    out.extend_from_slice(&record.members);
    out
}

/// Says once that the trail fails, and once that it is back.
fn report(shared: &Shared, failure: Option<&(String, io::Error)>) {
    let was = std::mem::replace(&mut shared.lock().unavailable, failure.is_some());
    if let Some((sink, error)) = failure {
        shared.metrics.audit_failures.inc();
        if !was {
            tracing::error!(%sink, %error, "the audit trail can't be written: new requests are refused");
        }
    } else if was {
        tracing::info!("the audit trail is written again");
    }
    shared
        .metrics
        .audit_available
        .set(i64::from(failure.is_none()));
}

const FILE: &str = "access.jsonl";
const COALESCE: Duration = Duration::from_millis(5);
const RETRY: Duration = Duration::from_secs(1);
const KEEP_BUFFER: usize = 64 * 1024;

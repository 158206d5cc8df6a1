//! Writes the trail to standard output. A reader that stops reading must not hold up the writer for
//! long.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Standard output by its descriptor, because the buffer of [`io::Stdout`] hides which bytes were
/// written.
#[derive(Debug)]
pub(super) struct Stdout {
    file: File,
    unwritten: Vec<u8>,
}

impl Stdout {
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self {
            file: File::from(io::stdout().as_fd().try_clone_to_owned()?),
            unwritten: Vec::new(),
        })
    }

    pub(super) fn push(&mut self, lines: &[u8]) {
        self.unwritten.extend_from_slice(lines);
    }

    /// Writes on from the byte where the last call ended. Fails after `PATIENCE` without progress.
    pub(super) fn write(&mut self) -> io::Result<()> {
        let mut written = 0;
        let mut progress = Instant::now();
        let result = loop {
            let rest = &self.unwritten[written..];
            if rest.is_empty() {
                break Ok(());
            }
            let Some(left) = PATIENCE.checked_sub(progress.elapsed()) else {
                break Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "standard output: its reader doesn't read",
                ));
            };
            match write_some(&self.file, &rest[..rest.len().min(ATOMIC)], left) {
                Ok(0) => {}
                Ok(count) => {
                    written += count;
                    progress = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    break Err(io::Error::new(
                        error.kind(),
                        format!("standard output: {error}"),
                    ));
                }
            }
        };
        self.unwritten.drain(..written);
        self.unwritten.shrink_to(KEEP_BUFFER);
        result
    }
}

/// Writes some bytes without blocking, or none if there is no room within the time.
fn write_some(mut file: &File, bytes: &[u8], within: Duration) -> io::Result<usize> {
    let within = Timespec {
        tv_sec: within.as_secs().try_into().unwrap_or(0),
        tv_nsec: within.subsec_nanos().into(),
    };
    let ready = poll(&mut [PollFd::new(file, PollFlags::OUT)], Some(&within))?;
    if ready == 0 {
        return Ok(0);
    }
    file.write(bytes)
}

/// How long a reader may take no byte before the trail counts as failing.
const PATIENCE: Duration = Duration::from_secs(1);
/// A pipe that is ready takes this number of bytes without blocking (`PIPE_BUF`, pipe(7)).
const ATOMIC: usize = 4096;
const KEEP_BUFFER: usize = 64 * 1024;

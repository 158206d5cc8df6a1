//! Standard output as a place for the trail. A reader that doesn't read must not hold the writer for long.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The descriptor itself: behind the buffer of [`io::Stdout`] nobody knows what has been written.
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

    /// Writes on from the byte where the last call ended, for a second at most without progress.
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

/// Writes what doesn't block; nothing when there is no room in time.
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

/// A reader that takes longer over it counts as gone.
const PATIENCE: Duration = Duration::from_secs(1);
/// A pipe that is ready takes so many bytes without blocking (`PIPE_BUF`, pipe(7)).
const ATOMIC: usize = 4096;
const KEEP_BUFFER: usize = 64 * 1024;

//! A TCP stream whose every use ends in time.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A stream with a deadline for each use.
///
/// The timeouts of the socket aren't enough, because each byte starts them anew. A server that
/// takes or sends a byte now and then would hold up the shipping for ever.
pub(super) struct BoundedStream {
    socket: TcpStream,
    until: Instant,
}

impl BoundedStream {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            until: Instant::now() + USE,
        }
    }

    /// Starts the time of the next use.
    pub(super) fn begin_use(&mut self) {
        self.until = Instant::now() + USE;
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    fn check(&self) -> io::Result<()> {
        if Instant::now() < self.until {
            return Ok(());
        }
        Err(io::Error::new(
            ErrorKind::TimedOut,
            "the server is too slow, or sends without an end",
        ))
    }
}

impl Read for BoundedStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.socket.read(buffer)
    }
}

impl Write for BoundedStream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.check()?;
        self.socket.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// How long the server may leave bytes unacknowledged, take none, or leave the end unread before
/// the connection is given up.
pub(super) const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 30 });
/// How long one use of a stream may take, besides a last wait.
const USE: Duration = PATIENCE.saturating_mul(2);

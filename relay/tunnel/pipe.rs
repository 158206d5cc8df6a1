//! Pipes for splice(2), which moves bytes from socket to pipe to socket without copying them into
//! this process.
//!
//! A direction holds a pipe only while bytes are in it. So a pipe is empty before it is filled, and
//! holds bytes when it is drained. That makes `EAGAIN` unambiguous: always the socket would block,
//! never the pipe, and the socket's readiness may be cleared.
//!
//! splice(2) has no `MSG_NOSIGNAL`. So the process must ignore SIGPIPE, which Rust's start-up code
//! arranges.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::socket::try_io;

/// A pipe on loan from a [`Pool`], with the number of bytes in it.
#[derive(Debug)]
pub(super) struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    length: usize,
    _open: Arc<()>,
}

/// The empty pipes of one thread.
#[derive(Debug)]
pub(super) struct Pool {
    idle: Vec<Pipe>,
    /// The most pipes that may exist at a time, on loan or idle.
    limit: usize,
    /// The reference count is the pipe counter, because every pipe holds a clone. So the count is
    /// right too when a tunnel drops its pipe instead of returning it.
    open: Arc<()>,
}

impl Pipe {
    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Reads from the socket into the pipe, which must be empty, and gives the number of bytes.
    /// Zero means the sender's FIN, or urgent data, which splice(2) takes for it.
    pub(super) fn fill(&mut self, from: &TcpStream) -> io::Result<usize> {
        // A short splice doesn't mean that the socket is empty, so readiness stays as it is. The
        // pipe has sixteen slots, and a small segment takes a whole one.
        self.length = from.try_io(Interest::READABLE, || {
            Ok(splice(from, None, &self.writer, None, PIPE_SIZE, FLAGS)?)
        })?;
        Ok(self.length)
    }

    /// Writes to the socket as much as it takes; gives the number of bytes.
    pub(super) fn drain(&mut self, to: &TcpStream) -> io::Result<usize> {
        let written = try_io(to, Interest::WRITABLE, self.length, || {
            splice(&self.reader, None, to, None, self.length, FLAGS)
        })?;
        self.length -= written;
        Ok(written)
    }
}

impl Pool {
    pub(super) fn new() -> Self {
        Self {
            idle: Vec::new(),
            limit: MAX_OPEN,
            open: Arc::new(()),
        }
    }

    /// Lends a pipe. Gives none where the limit is reached, descriptors have run out, or the user's
    /// share of pipe memory is used up; then the tunnel copies.
    pub(super) fn take(&mut self) -> Option<Pipe> {
        if self.limit == 0 {
            return None;
        }
        self.idle.pop().or_else(|| self.open())
    }

    /// Takes a pipe back. It is closed when there are enough, or when bytes are left in it, because
    /// those would go into another tunnel.
    pub(super) fn give_back(&mut self, pipe: Pipe) {
        if pipe.is_empty() && self.idle.len() < MAX_IDLE {
            self.idle.push(pipe);
        }
    }

    /// Lends no pipes from now on.
    pub(super) fn close(&mut self) {
        self.limit = 0;
        self.idle.clear();
    }

    fn open(&self) -> Option<Pipe> {
        if self.count() >= self.limit {
            return None;
        }
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // Beyond `pipe-user-pages-soft` the kernel gives pipes of a page or two, which are slower
        // than copying.
        (fcntl_getpipe_size(&writer).ok()? >= PIPE_SIZE).then(|| Pipe {
            reader,
            writer,
            length: 0,
            _open: Arc::clone(&self.open),
        })
    }

    pub(super) fn count(&self) -> usize {
        Arc::strong_count(&self.open) - 1
    }
}

/// Tells whether filling failed because this system, or its sandbox, doesn't splice sockets. Then
/// nothing was read.
pub(super) fn is_unsupported(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::NOSYS, Errno::INVAL, Errno::PERM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

const FLAGS: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

/// The kernel's default, sixteen pages. Larger pipes measured no faster.
const PIPE_SIZE: usize = 64 * 1024;

/// The most pipes of a thread; each is two descriptors and up to 64 KiB of kernel memory.
const MAX_OPEN: usize = 64;
const MAX_IDLE: usize = 16;

#[cfg(test)]
impl Pool {
    pub(super) fn with_limit(limit: usize) -> Self {
        Self {
            limit,
            ..Self::new()
        }
    }

    pub(super) fn on_loan(&self) -> usize {
        self.count() - self.idle.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lends_no_more_than_the_limit_and_counts_the_lost_off() {
        let mut pool = Pool::with_limit(2);
        let (first, second) = (pool.take().unwrap(), pool.take().unwrap());
        assert!(pool.take().is_none());
        std::thread::spawn(move || drop(first)).join().unwrap();
        let third = pool.take().unwrap();
        assert!(pool.take().is_none());
        pool.give_back(second);
        pool.give_back(third);
        assert_eq!((pool.count(), pool.on_loan()), (2, 0));
        pool.close();
        assert_eq!(pool.count(), 0);
        assert!(pool.take().is_none());
    }

    #[test]
    fn keeps_few_idle_ones() {
        let mut pool = Pool::new();
        let lent: Vec<_> = (0..MAX_OPEN).map(|_| pool.take().unwrap()).collect();
        for pipe in lent {
            pool.give_back(pipe);
        }
        assert_eq!(pool.count(), MAX_IDLE);
    }
}

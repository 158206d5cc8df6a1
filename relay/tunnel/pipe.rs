//! Pipes for splice(2), which moves bytes from socket to pipe to socket without copying them into this process.
//!
//! A direction holds a pipe only while bytes are in it. That a pipe is empty before it's filled and holds bytes when it's
//! drained is what makes `EAGAIN` unambiguous: it is always the socket that would block, so the socket's readiness may be
//! cleared for it.
//!
//! splice(2) knows no `MSG_NOSIGNAL`: the process must ignore SIGPIPE, as Rust's start-up code has it do.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::direction::try_io;

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
    /// Every pipe holds a clone, so that one which is closed elsewhere, with its tunnel, is counted off without a word.
    open: Arc<()>,
}

impl Pipe {
    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Reads from the socket into the pipe, which must be empty; gives the number of bytes, zero at
    /// the sender's end, or what splice(2) takes for it.
    pub(super) fn fill(&mut self, from: &TcpStream) -> io::Result<usize> {
        // A short splice doesn't say that the socket is empty: the pipe has sixteen slots, and a small segment takes a whole one.
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

    /// A pipe, unless there are too many, or no descriptors, or the user's share of pipe memory is used up.
    pub(super) fn take(&mut self) -> Option<Pipe> {
        if self.limit == 0 {
            return None;
        }
        self.idle.pop().or_else(|| self.open())
    }

    /// Takes a pipe back. It is closed when there are enough, or when it would bring one tunnel's bytes into another.
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
        // Beyond pipe-user-pages-soft the kernel gives pipes of a page or two, which are slower than copying.
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

/// Whether filling failed because this system, or its sandbox, doesn't splice sockets; nothing was read then.
pub(super) fn is_unsupported(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::NOSYS, Errno::INVAL, Errno::PERM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

const FLAGS: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

/// The kernel's default, sixteen pages; larger ones measured no faster.
const PIPE_SIZE: usize = 64 * 1024;

/// Two descriptors and 64 KiB of kernel memory each. Whoever gets none copies.
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

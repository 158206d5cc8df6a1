//! What the two directions of a tunnel share while it is polled: buffers, pipes, and the words for
//! what one poll did.
//!
//! A *turn* is one poll of a tunnel. In a turn each direction has a few *rounds*; a round reads or
//! writes once.

use std::cell::RefCell;
use std::io::{self, ErrorKind::WouldBlock};

use tokio::net::TcpStream;

use super::pipe::Pool;
use super::{Counters, socket};

/// The buffers and pipes that all tunnels of a thread share.
///
/// A tunnel borrows the workbench while it is polled, and never across a wait. So an idle tunnel
/// has no buffer of its own.
#[derive(Debug)]
pub(super) struct Workbench {
    pub(super) scratch: Box<[u8]>,
    pub(super) pipes: Pool,
    pub(super) tls: TlsBuffers,
}

/// The buffers of tunnels whose client speaks TLS with the relay. They stay empty without such a
/// tunnel.
#[derive(Debug, Default)]
pub(super) struct TlsBuffers {
    /// Records from the client: first the partial record that waited, then what was received now.
    pub(super) incoming: Vec<u8>,
    /// What was in the client's records.
    pub(super) opened: Vec<u8>,
    /// Records for the client.
    pub(super) sealed: Vec<u8>,
}

/// One poll of a tunnel: the workbench that its directions use, and what they noticed.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) bench: &'a mut Workbench,
    /// A direction moved bytes.
    pub(super) active: bool,
    /// A direction used up its share, so that no wake-up is registered for it.
    pub(super) unfinished: bool,
}

/// What is left to do after a round.
pub(super) enum Round {
    More,
    /// Nothing, until the other direction has sent; its wake-up polls this one too.
    Waits,
    Last,
}

/// The two ends of a direction, and what counts the bytes that the receiver's kernel took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends<'a> {
    pub(super) from: &'a TcpStream,
    pub(super) to: &'a TcpStream,
    pub(super) counters: &'a Counters,
    /// Whether the direction is the one from the client.
    pub(super) is_up: bool,
}

/// A read or a write failed, or would block.
#[derive(Debug)]
pub(super) enum DirectionError {
    Sender(io::Error),
    Receiver(io::Error),
}

thread_local! {
    pub(super) static WORKBENCH: RefCell<Workbench> = RefCell::new(Workbench::new());
}

impl Workbench {
    fn new() -> Self {
        Self {
            scratch: vec![0; SCRATCH].into_boxed_slice(),
            pipes: Pool::new(),
            tls: TlsBuffers::default(),
        }
    }
}

impl<'a> Turn<'a> {
    pub(super) fn new(bench: &'a mut Workbench) -> Self {
        Self {
            bench,
            active: false,
            unfinished: false,
        }
    }
}

impl Ends<'_> {
    #[inline]
    pub(super) fn receive(&self, buffer: &mut [u8]) -> Result<usize, DirectionError> {
        socket::receive(self.from, buffer).map_err(DirectionError::Sender)
    }

    #[inline]
    pub(super) fn send(&self, bytes: &[u8]) -> Result<usize, DirectionError> {
        socket::send(self.to, bytes).map_err(DirectionError::Receiver)
    }

    /// Sends what the receiver takes now; gives zero where it takes nothing.
    #[inline]
    pub(super) fn offer(&self, bytes: &[u8]) -> Result<usize, DirectionError> {
        match self.send(bytes) {
            Err(DirectionError::Receiver(e)) if e.kind() == WouldBlock => Ok(0),
            outcome => outcome,
        }
    }

    /// Adds bytes that the receiver's kernel took.
    #[inline]
    pub(super) fn count(&self, sent: usize) {
        if self.is_up {
            self.counters.count_up(sent as u64);
        } else {
            self.counters.count_down(sent as u64);
        }
    }
}

/// The most bytes that a read takes, and that a direction holds. It is the capacity of a pipe.
pub(super) const SCRATCH: usize = 64 * 1024;

//! One direction of a tunnel: reads from the sender, writes to the receiver, and holds only what the receiver didn't take.
//!
//! Small messages are copied through a buffer that all tunnels of a thread share. When a read fills it, the sender has more
//! than that to say, and the direction goes over to splice(2) until that brings little several times in a row.

use std::io::{self, ErrorKind::WouldBlock};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, SendFlags};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::pipe::{Pipe, Pool, is_unsupported};
use super::sealed::Seals;

/// Where one direction stands. It owns no buffer and no pipe unless bytes wait in it.
#[derive(Debug)]
pub(super) struct Direction {
    pub(super) held: Held,
    way: Way,
    pub(super) stage: Stage,
    /// Bytes that were sealed, and whose last record hasn't been taken yet.
    pub(super) unsettled: usize,
}

/// What all tunnels of a thread share. It is borrowed while one of them is polled, never across a wait.
#[derive(Debug)]
pub(super) struct Workbench {
    pub(super) scratch: Box<[u8]>,
    pub(super) pipes: Pool,
    pub(super) seals: Seals,
}

/// The two ends of a direction, and the count of bytes that the receiver's kernel took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends<'a> {
    pub(super) from: &'a TcpStream,
    pub(super) to: &'a TcpStream,
    pub(super) delivered: &'a AtomicU64,
}

/// One poll of a tunnel: what its two directions work with, and what they noticed.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) bench: &'a mut Workbench,
    /// Bytes moved.
    pub(super) active: bool,
    /// A direction used up its share, so that no wake-up is registered for it.
    pub(super) unfinished: bool,
}

/// What a round leaves to do.
pub(super) enum Round {
    More,
    /// For the other direction, which wakes the tunnel.
    Waits,
    Last,
}

/// The socket that failed.
#[derive(Debug)]
pub(super) enum Fault {
    Sender(io::Error),
    Receiver(io::Error),
}

/// Bytes read that the receiver didn't take yet. While there are any, nothing more is read.
#[derive(Debug)]
pub(super) enum Held {
    Nothing,
    Bytes { bytes: Vec<u8>, written: usize },
    Pipe(Pipe),
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Copy,
    /// With how many times in a row it brought little.
    Splice(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Open,
    /// The sender's FIN came.
    Ended,
    /// The receiver is being told.
    Closing,
    /// Everything is delivered, or can't be any more.
    Finished,
}

impl Direction {
    /// A direction that first delivers bytes which were read before it existed.
    pub(super) fn starting_with(bytes: Vec<u8>) -> Self {
        Self {
            held: Held::rest(bytes),
            way: Way::Copy,
            stage: Stage::Open,
            unsettled: 0,
        }
    }

    /// Moves bytes until a socket would block or the share of one turn is used up. Ready when the sender's FIN came and
    /// every byte before it is delivered; passing the FIN on is the caller's.
    pub(super) fn poll(
        &mut self,
        ends: Ends<'_>,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        self.poll_rounds(ends, turn, cx, |direction, turn| {
            match (&direction.held, direction.stage) {
                (Held::Nothing, Stage::Open) => direction.read(ends, turn),
                (Held::Nothing, _) => return Ok(direction.finish()),
                _ => direction.flush(ends, turn),
            }
            .map(|()| Round::More)
        })
    }

    /// The last thing that a round does.
    pub(super) fn finish(&mut self) -> Round {
        self.stage = Stage::Finished;
        Round::Last
    }

    /// As many rounds as one turn has, until one is the last or has to wait.
    pub(super) fn poll_rounds(
        &mut self,
        ends: Ends<'_>,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        mut round: impl FnMut(&mut Self, &mut Turn<'_>) -> Result<Round, Fault>,
    ) -> Poll<Result<(), Fault>> {
        for _ in 0..ROUNDS {
            match round(self, turn) {
                Ok(Round::More) => {}
                Ok(Round::Waits) => return Poll::Pending,
                Ok(Round::Last) => return Poll::Ready(Ok(())),
                Err(Fault::Sender(e)) if e.kind() == WouldBlock => {
                    ready!(ends.from.poll_read_ready(cx)).map_err(Fault::Sender)?;
                }
                Err(Fault::Receiver(e)) if e.kind() == WouldBlock => {
                    ready!(ends.to.poll_write_ready(cx)).map_err(Fault::Receiver)?;
                }
                Err(fault) => {
                    self.held = Held::Nothing;
                    self.stage = Stage::Finished;
                    return Poll::Ready(Err(fault));
                }
            }
        }
        turn.unfinished = true;
        Poll::Pending
    }

    /// Whether the sender's FIN came, or the direction broke.
    pub(super) fn has_ended(&self) -> bool {
        self.stage != Stage::Open
    }

    pub(super) fn is_finished(&self) -> bool {
        self.stage == Stage::Finished
    }

    /// Whether bytes are lost if the tunnel ends now.
    pub(super) fn holds_bytes(&self) -> bool {
        !matches!(self.held, Held::Nothing)
    }

    fn read(&mut self, ends: Ends<'_>, turn: &mut Turn<'_>) -> Result<(), Fault> {
        if let Way::Splice(short) = self.way {
            if short < MAX_SHORT
                && let Some(pipe) = turn.bench.pipes.take()
            {
                return self.splice(pipe, short, ends, turn);
            }
            self.way = Way::Copy;
        }
        self.copy(ends, turn)
    }

    fn copy(&mut self, ends: Ends<'_>, turn: &mut Turn<'_>) -> Result<(), Fault> {
        let scratch = &mut *turn.bench.scratch;
        let read = try_io(ends.from, Interest::READABLE, scratch.len(), || {
            rustix::net::recv(ends.from, &mut *scratch, RecvFlags::empty()).map(|(read, _)| read)
        })
        .map_err(Fault::Sender)?;
        if read == 0 {
            self.stage = Stage::Ended;
            return Ok(());
        }
        turn.active = true;
        if read == scratch.len() {
            self.way = Way::Splice(0);
        }
        let written = match send(ends.to, &scratch[..read]) {
            Ok(written) => written,
            Err(e) if e.kind() == WouldBlock => 0,
            Err(e) => return Err(Fault::Receiver(e)),
        };
        ends.count(written);
        self.held = Held::rest(scratch[written..read].to_vec());
        Ok(())
    }

    fn splice(
        &mut self,
        mut pipe: Pipe,
        short: u8,
        ends: Ends<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Fault> {
        let pipes = &mut turn.bench.pipes;
        match pipe.fill(ends.from) {
            // Before urgent data (RFC 9293, 3.8.5) with a FIN behind it splice(2) gives zero too, and without one it blocks for
            // ever. Only a read gets past it, so only a read is believed about the end, and blocking counts as little.
            Ok(0) => {
                pipes.give_back(pipe);
                self.way = Way::Copy;
                Ok(())
            }
            Ok(read) => {
                turn.active = true;
                self.way = Way::Splice(if read < LITTLE { short + 1 } else { 0 });
                self.held = Held::Pipe(pipe);
                self.flush(ends, turn)
            }
            Err(e) if e.kind() == WouldBlock => {
                pipes.give_back(pipe);
                self.way = Way::Splice(short + 1);
                Err(Fault::Sender(e))
            }
            Err(e) if is_unsupported(&e) => {
                pipes.close();
                self.way = Way::Copy;
                Ok(())
            }
            Err(e) => Err(Fault::Sender(e)),
        }
    }

    /// Writes what is held, and lets go of buffer and pipe once nothing is.
    pub(super) fn flush(&mut self, ends: Ends<'_>, turn: &mut Turn<'_>) -> Result<(), Fault> {
        let sent = match &mut self.held {
            Held::Nothing => return Ok(()),
            Held::Bytes { bytes, written } => {
                let sent = send(ends.to, &bytes[*written..]).map_err(Fault::Receiver)?;
                *written += sent;
                if *written == bytes.len() {
                    self.held = Held::Nothing;
                }
                sent
            }
            Held::Pipe(pipe) => {
                let sent = pipe.drain(ends.to).map_err(Fault::Receiver)?;
                if pipe.is_empty()
                    && let Held::Pipe(pipe) = mem::replace(&mut self.held, Held::Nothing)
                {
                    turn.bench.pipes.give_back(pipe);
                }
                sent
            }
        };
        turn.active = true;
        ends.count(sent);
        Ok(())
    }
}

impl Workbench {
    pub(super) fn new() -> Self {
        Self {
            scratch: vec![0; SCRATCH].into_boxed_slice(),
            pipes: Pool::new(),
            seals: Seals::default(),
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
    pub(super) fn count(&self, sent: usize) {
        self.delivered.fetch_add(sent as u64, Ordering::Relaxed);
    }
}

impl Held {
    pub(super) fn rest(bytes: Vec<u8>) -> Self {
        if bytes.is_empty() {
            Self::Nothing
        } else {
            Self::Bytes { bytes, written: 0 }
        }
    }
}

/// [`TcpStream::try_io`] for a call that moves up to `wanted` bytes and moves fewer only when the socket has no more. A short
/// count then says what the next `EAGAIN` would say, so readiness is cleared at once and that call is saved.
pub(super) fn try_io(
    stream: &TcpStream,
    interest: Interest,
    wanted: usize,
    call: impl FnOnce() -> rustix::io::Result<usize>,
) -> io::Result<usize> {
    let mut moved = 0;
    let outcome = stream.try_io(interest, || {
        moved = call()?;
        if 0 < moved && moved < wanted {
            return Err(WouldBlock.into());
        }
        Ok(())
    });
    match outcome {
        Err(e) if moved == 0 => Err(e),
        _ => Ok(moved),
    }
}

pub(super) fn send(to: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    try_io(to, Interest::WRITABLE, bytes.len(), || {
        rustix::net::send(to, bytes, SendFlags::NOSIGNAL)
    })
}

/// What a read takes at most, and what a direction holds at most: the same as a pipe.
pub(super) const SCRATCH: usize = 64 * 1024;

/// How often a direction may read or write in one turn, so that a fast tunnel leaves the thread to the others.
const ROUNDS: usize = 8;

/// Splices shorter than this, so many in a row, cost more than copying.
const LITTLE: usize = 16 * 1024;
const MAX_SHORT: u8 = 3;

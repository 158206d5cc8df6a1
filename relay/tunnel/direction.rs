//! One direction of a tunnel: it reads from the sender, writes to the receiver, and holds only what
//! the receiver didn't take.
//!
//! Small messages are copied through a buffer that all tunnels of a thread share. When a read fills
//! that buffer, the sender has more to say, and the direction changes to splice(2). It goes back to
//! copying when several splices in a row brought little.

use std::io::ErrorKind::WouldBlock;
use std::mem;
use std::task::{Context, Poll, ready};

use super::pipe::{Pipe, is_unsupported};
use super::turn::{DirectionError, Ends, Round, Turn};

/// The state of one direction. It owns a buffer or a pipe only while bytes wait in it.
#[derive(Debug)]
pub(super) struct Direction {
    pub(super) held: Held,
    transfer: Transfer,
    pub(super) state: DirectionState,
    /// Bytes that went into TLS records whose last byte the receiver hasn't taken yet.
    pub(super) unsettled: usize,
}

/// Bytes that were read and that the receiver didn't take yet. While there are any, nothing more is
/// read.
#[derive(Debug)]
pub(super) enum Held {
    Nothing,
    Bytes { bytes: Vec<u8>, written: usize },
    Pipe(Pipe),
}

/// How bytes are moved.
#[derive(Clone, Copy, Debug)]
enum Transfer {
    Copy,
    Splice {
        /// How many splices in a row brought little.
        short: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DirectionState {
    Open,
    /// The sender's FIN came.
    Ended,
    /// The client's `close_notify` is on its way.
    Closing,
    /// Everything is delivered, or can't be any more.
    Finished,
}

impl Direction {
    /// Makes a direction that first delivers bytes which were read before it existed.
    pub(super) fn starting_with(bytes: Vec<u8>) -> Self {
        Self {
            held: Held::rest(bytes),
            transfer: Transfer::Copy,
            state: DirectionState::Open,
            unsettled: 0,
        }
    }

    /// Moves bytes until a socket would block or the share of one turn is used up.
    ///
    /// It is ready when the sender's FIN came and every byte before it is delivered. The caller
    /// passes the FIN on.
    pub(super) fn poll(
        &mut self,
        ends: Ends<'_>,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), DirectionError>> {
        self.poll_rounds(ends, turn, cx, |direction, turn| {
            match (&direction.held, direction.state) {
                (Held::Nothing, DirectionState::Open) => direction.read(ends, turn),
                (Held::Nothing, _) => return Ok(direction.finish()),
                _ => direction.flush(ends, turn),
            }
            .map(|()| Round::More)
        })
    }

    /// Marks the direction as finished; the last thing that a round does.
    pub(super) fn finish(&mut self) -> Round {
        self.state = DirectionState::Finished;
        Round::Last
    }

    /// Does rounds until one is the last, one has to wait, or the share of the turn is used up.
    ///
    /// When a round would block, readiness is polled here, which registers the wake-up. If the
    /// socket has become ready in the meantime, the next round follows at once.
    pub(super) fn poll_rounds(
        &mut self,
        ends: Ends<'_>,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        mut round: impl FnMut(&mut Self, &mut Turn<'_>) -> Result<Round, DirectionError>,
    ) -> Poll<Result<(), DirectionError>> {
        for _ in 0..ROUNDS {
            match round(self, turn) {
                Ok(Round::More) => {}
                Ok(Round::Waits) => return Poll::Pending,
                Ok(Round::Last) => return Poll::Ready(Ok(())),
                Err(DirectionError::Sender(e)) if e.kind() == WouldBlock => {
                    ready!(ends.from.poll_read_ready(cx)).map_err(DirectionError::Sender)?;
                }
                Err(DirectionError::Receiver(e)) if e.kind() == WouldBlock => {
                    ready!(ends.to.poll_write_ready(cx)).map_err(DirectionError::Receiver)?;
                }
                Err(error) => {
                    // What is held can't be delivered any more. A pipe with bytes in it is closed
                    // here.
                    self.held = Held::Nothing;
                    self.state = DirectionState::Finished;
                    return Poll::Ready(Err(error));
                }
            }
        }
        turn.unfinished = true;
        Poll::Pending
    }

    /// Tells whether the sender's FIN came, or the direction broke.
    pub(super) fn has_ended(&self) -> bool {
        self.state != DirectionState::Open
    }

    pub(super) fn is_finished(&self) -> bool {
        self.state == DirectionState::Finished
    }

    /// Tells whether bytes are lost if the tunnel ends now.
    pub(super) fn holds_bytes(&self) -> bool {
        !matches!(self.held, Held::Nothing)
    }

    fn read(&mut self, ends: Ends<'_>, turn: &mut Turn<'_>) -> Result<(), DirectionError> {
        if let Transfer::Splice { short } = self.transfer {
            if short < MAX_SHORT
                && let Some(pipe) = turn.bench.pipes.take()
            {
                return self.splice(pipe, short, ends, turn);
            }
            self.transfer = Transfer::Copy;
        }
        self.copy(ends, turn)
    }

    fn copy(&mut self, ends: Ends<'_>, turn: &mut Turn<'_>) -> Result<(), DirectionError> {
        let scratch = &mut *turn.bench.scratch;
        let read = ends.receive(scratch)?;
        if read == 0 {
            self.state = DirectionState::Ended;
            return Ok(());
        }
        turn.active = true;
        // A full buffer means that more waits, so splicing will pay.
        if read == scratch.len() {
            self.transfer = Transfer::Splice { short: 0 };
        }
        let written = ends.offer(&scratch[..read])?;
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
    ) -> Result<(), DirectionError> {
        let pipes = &mut turn.bench.pipes;
        match pipe.fill(ends.from) {
            // Zero isn't always the end: splice(2) also gives it before urgent data
            // (RFC 9293, 3.8.5) with a FIN behind it. Only a read gets past urgent data, so only a
            // read may see the end.
            Ok(0) => {
                pipes.give_back(pipe);
                self.transfer = Transfer::Copy;
                Ok(())
            }
            Ok(read) => {
                turn.active = true;
                self.transfer = Transfer::Splice {
                    short: if read < LITTLE { short + 1 } else { 0 },
                };
                self.held = Held::Pipe(pipe);
                self.flush(ends, turn)
            }
            // Before urgent data without a FIN, splice(2) would block for ever. So blocking counts
            // as little, and after a few times a read gets past the urgent data.
            Err(e) if e.kind() == WouldBlock => {
                pipes.give_back(pipe);
                self.transfer = Transfer::Splice { short: short + 1 };
                Err(DirectionError::Sender(e))
            }
            Err(e) if is_unsupported(&e) => {
                pipes.close();
                self.transfer = Transfer::Copy;
                Ok(())
            }
            Err(e) => Err(DirectionError::Sender(e)),
        }
    }

    /// Writes what is held. Frees the buffer, or gives the pipe back, once all of it is written.
    pub(super) fn flush(
        &mut self,
        ends: Ends<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<(), DirectionError> {
        let sent = match &mut self.held {
            Held::Nothing => return Ok(()),
            Held::Bytes { bytes, written } => {
                let sent = ends.send(&bytes[*written..])?;
                *written += sent;
                if *written == bytes.len() {
                    self.held = Held::Nothing;
                }
                sent
            }
            Held::Pipe(pipe) => {
                let sent = pipe.drain(ends.to).map_err(DirectionError::Receiver)?;
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

impl Held {
    /// Holds what a write left over.
    pub(super) fn rest(bytes: Vec<u8>) -> Self {
        if bytes.is_empty() {
            Self::Nothing
        } else {
            Self::Bytes { bytes, written: 0 }
        }
    }
}

/// The most reads and writes of a direction in one turn. Otherwise a fast tunnel would keep the
/// thread from all others.
const ROUNDS: usize = 8;

/// A splice that brings less than this is a short one: it costs more than copying the same bytes.
const LITTLE: usize = 16 * 1024;
/// After this many short splices in a row, the direction copies again.
const MAX_SHORT: u8 = 3;

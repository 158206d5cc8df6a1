//! The two directions of a tunnel whose client speaks TLS with the relay itself. They always copy,
//! because a pipe can't encrypt.
//!
//! The client's direction opens TLS records and sends what was in them. The other direction seals
//! what comes from upstream. Both use buffers that all tunnels of a thread share. A connection's
//! own [`TlsSession`] keeps only a record that came in part, and sealed bytes that the client
//! didn't take.

use std::io::{Error, ErrorKind};
use std::mem;
use std::task::{Context, Poll};

use super::direction::{Direction, DirectionState, Held};
use super::turn::{DirectionError, Ends, Round, SCRATCH, TlsBuffers, Turn};
use crate::tls::{MAX_WAITING, TlsSession};

impl Direction {
    /// Does what [`Direction::poll`] does, for the direction that comes from the client.
    pub(super) fn poll_opening(
        &mut self,
        tls: &mut TlsSession,
        ends: Ends<'_>,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), DirectionError>> {
        self.poll_rounds(ends, turn, cx, |direction, turn| {
            match (&direction.held, direction.state) {
                (Held::Nothing, DirectionState::Open) => direction.open(tls, ends, turn),
                (Held::Nothing, _) => Ok(direction.finish()),
                _ => direction.flush(ends, turn).map(|()| Round::More),
            }
        })
    }

    /// Does what [`Direction::poll`] does, for the direction that goes to the client.
    ///
    /// At its end it sends the client a `close_notify`, and is ready once that is sent too.
    pub(super) fn poll_sealing(
        &mut self,
        tls: &mut TlsSession,
        ends: Ends<'_>,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), DirectionError>> {
        self.poll_rounds(ends, turn, cx, |direction, turn| {
            if !tls.outgoing().is_empty() {
                let sent = ends.send(tls.outgoing())?;
                tls.sent(sent);
                turn.active = true;
                if tls.outgoing().is_empty() {
                    direction.settle(ends);
                }
                return Ok(Round::More);
            }
            match direction.state {
                DirectionState::Open => direction.seal(tls, ends, turn)?,
                DirectionState::Ended => {
                    let sealed = &mut turn.bench.tls.sealed;
                    sealed.clear();
                    tls.close(sealed)
                        .map_err(|error| DirectionError::Receiver(failed(error)))?;
                    tls.keep(sealed);
                    direction.state = DirectionState::Closing;
                }
                DirectionState::Closing | DirectionState::Finished => {
                    return Ok(direction.finish());
                }
            }
            Ok(Round::More)
        })
    }

    fn open(
        &mut self,
        tls: &mut TlsSession,
        ends: Ends<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<Round, DirectionError> {
        if tls.has_ended() {
            self.state = DirectionState::Ended;
            return Ok(Round::More);
        }
        // Back-pressure: stop reading once more than `MAX_UNSENT` bytes of TLS replies are unsent.
        // Otherwise a client that asks for key updates and never reads would fill our memory.
        if tls.outgoing().len() > MAX_UNSENT {
            return Ok(Round::Waits);
        }
        let TlsBuffers {
            incoming, opened, ..
        } = &mut turn.bench.tls;
        incoming.resize(MAX_WAITING + SCRATCH, 0);
        let waiting = tls.lay_out(incoming);
        let received = ends.receive(&mut incoming[waiting..]);
        let end = waiting + *received.as_ref().unwrap_or(&0);
        opened.clear();
        // `lay_out` moved the partial record into the shared buffer. So `open` must run even where
        // nothing was received: it puts the record back into the session.
        let outcome = tls.open(&mut incoming[..end], opened);
        let received = received?;
        if received == 0 {
            self.state = DirectionState::Ended;
        }
        turn.active |= received > 0;
        if !opened.is_empty() {
            let written = ends.offer(opened)?;
            ends.count(written);
            self.held = Held::rest(opened[written..].to_vec());
        }
        outcome.map_err(|error| DirectionError::Sender(failed(error)))?;
        Ok(Round::More)
    }

    fn seal(
        &mut self,
        tls: &mut TlsSession,
        ends: Ends<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<(), DirectionError> {
        let bench = &mut *turn.bench;
        let read = ends.receive(&mut bench.scratch)?;
        if read == 0 {
            self.state = DirectionState::Ended;
            return Ok(());
        }
        turn.active = true;
        let sealed = &mut bench.tls.sealed;
        sealed.clear();
        tls.seal(&bench.scratch[..read], sealed)
            .map_err(|error| DirectionError::Receiver(failed(error)))?;
        let sent = ends.offer(sealed)?;
        // Bytes are longer once they are sealed. So part of the records tells nothing exact about
        // the bytes inside, and these count only when all of their records are taken.
        if sent == sealed.len() {
            ends.count(read);
        } else {
            tls.keep(&sealed[sent..]);
            self.unsettled = read;
        }
        Ok(())
    }

    /// Counts the sealed bytes, because the last byte of their records was taken.
    fn settle(&mut self, ends: Ends<'_>) {
        ends.count(mem::take(&mut self.unsettled));
    }
}

/// Turns an error of TLS into one of its own kind: the socket didn't fail, and there was no reset.
fn failed(error: rustls::Error) -> Error {
    Error::new(ErrorKind::InvalidData, error)
}

/// The most bytes for the client that may be unsent while more is read from it. One turn of the
/// other direction, with the overhead of its records, leaves fewer.
const MAX_UNSENT: usize = SCRATCH + MAX_WAITING;

//! The two directions of a tunnel whose client speaks TLS with the relay itself. No pipe can seal, so they copy.
//!
//! The client's direction opens records and sends on what was in them; the other seals what comes from upstream. Both use buffers that
//! all tunnels of a thread share. What a connection itself keeps, in its [`Session`], is a record that has come in part and sealed
//! bytes that the client doesn't take.

use std::io::{self, ErrorKind::WouldBlock};
use std::task::{Context, Poll};

use rustix::net::RecvFlags;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::direction::{Direction, Ends, Fault, Held, Round, SCRATCH, Stage, Turn, send, try_io};
use crate::tls::{MAX_WAITING, Session};

/// What tunnels under TLS share beside the rest; without any it is empty.
#[derive(Debug, Default)]
pub(super) struct Seals {
    incoming: Vec<u8>,
    opened: Vec<u8>,
    sealed: Vec<u8>,
}

impl Direction {
    /// As [`Direction::poll`], of the direction that comes from the client.
    pub(super) fn poll_opening(
        &mut self,
        tls: &mut Session,
        ends: Ends<'_>,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        self.poll_rounds(ends, turn, cx, |direction, turn| {
            match (&direction.held, direction.stage) {
                (Held::Nothing, Stage::Open) => direction.open(tls, ends, turn),
                (Held::Nothing, _) => Ok(direction.finish()),
                _ => direction.flush(ends, turn).map(|()| Round::More),
            }
        })
    }

    /// As [`Direction::poll`], of the direction that goes to the client. Its end includes that the client is told.
    pub(super) fn poll_sealing(
        &mut self,
        tls: &mut Session,
        ends: Ends<'_>,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        self.poll_rounds(ends, turn, cx, |direction, turn| {
            if !tls.outgoing().is_empty() {
                let sent = send(ends.to, tls.outgoing()).map_err(Fault::Receiver)?;
                tls.sent(sent);
                turn.active = true;
                if tls.outgoing().is_empty() {
                    direction.settle(ends);
                }
                return Ok(Round::More);
            }
            match direction.stage {
                Stage::Open => direction.seal(tls, ends, turn)?,
                Stage::Ended => {
                    let sealed = &mut turn.bench.seals.sealed;
                    sealed.clear();
                    tls.close(sealed)
                        .map_err(|error| Fault::Receiver(failed(error)))?;
                    tls.keep(sealed);
                    direction.stage = Stage::Closing;
                }
                Stage::Closing | Stage::Finished => return Ok(direction.finish()),
            }
            Ok(Round::More)
        })
    }

    fn open(
        &mut self,
        tls: &mut Session,
        ends: Ends<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<Round, Fault> {
        if tls.has_ended() {
            self.stage = Stage::Ended;
            return Ok(Round::More);
        }
        // Whoever asks for answers and takes none is read no further.
        if tls.outgoing().len() > MAX_UNSENT {
            return Ok(Round::Waits);
        }
        let Seals {
            incoming, opened, ..
        } = &mut turn.bench.seals;
        incoming.resize(MAX_WAITING + SCRATCH, 0);
        let waiting = tls.lay_out(incoming);
        let received = receive(ends.from, &mut incoming[waiting..]);
        let end = waiting + *received.as_ref().unwrap_or(&0);
        opened.clear();
        // Also where nothing came, for what waits to go on waiting.
        let outcome = tls.open(&mut incoming[..end], opened);
        let received = received.map_err(Fault::Sender)?;
        if received == 0 {
            self.stage = Stage::Ended;
        }
        turn.active |= received > 0;
        if !opened.is_empty() {
            let written = match send(ends.to, opened) {
                Ok(written) => written,
                Err(e) if e.kind() == WouldBlock => 0,
                Err(e) => return Err(Fault::Receiver(e)),
            };
            ends.count(written);
            self.held = Held::rest(opened[written..].to_vec());
        }
        outcome.map_err(|error| Fault::Sender(failed(error)))?;
        Ok(Round::More)
    }

    fn seal(
        &mut self,
        tls: &mut Session,
        ends: Ends<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Fault> {
        let bench = &mut *turn.bench;
        let read = receive(ends.from, &mut bench.scratch).map_err(Fault::Sender)?;
        if read == 0 {
            self.stage = Stage::Ended;
            return Ok(());
        }
        turn.active = true;
        let sealed = &mut bench.seals.sealed;
        sealed.clear();
        tls.seal(&bench.scratch[..read], sealed)
            .map_err(|error| Fault::Receiver(failed(error)))?;
        let sent = match send(ends.to, sealed) {
            Ok(sent) => sent,
            Err(e) if e.kind() == WouldBlock => 0,
            Err(e) => return Err(Fault::Receiver(e)),
        };
        if sent == sealed.len() {
            ends.count(read);
        } else {
            tls.keep(&sealed[sent..]);
            self.unsettled = read;
        }
        Ok(())
    }

    /// What was sealed has been taken, to the last byte.
    fn settle(&mut self, ends: Ends<'_>) {
        ends.count(std::mem::take(&mut self.unsettled));
    }
}

fn receive(from: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    try_io(from, Interest::READABLE, buffer.len(), || {
        rustix::net::recv(from, &mut *buffer, RecvFlags::empty()).map(|(received, _)| received)
    })
}

/// What the peer did to TLS is no failure of the socket, nor a reset.
fn failed(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// More than one turn of the other direction leaves, with its overhead.
const MAX_UNSENT: usize = SCRATCH + MAX_WAITING;

//! The relay's end of TLS below a [`Downstream`]: the handshake, and records that come in.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::{Downstream, NoArrival, READ, Told};
use crate::proxy_error::{Reason, Refusal};
use crate::tls;

#[derive(Debug)]
pub(super) struct TlsEnd {
    pub(super) session: tls::Session,
    /// What was in records, and wasn't read yet: little more than one record.
    pub(super) opened: Vec<u8>,
}

impl Downstream {
    /// Makes this the relay's end of a TLS connection; what has been read already is the beginning of it.
    pub(in crate::server) async fn shake_hands(
        &mut self,
        config: Arc<rustls::ServerConfig>,
        within: Duration,
    ) -> Result<&tls::Session, NoArrival> {
        let deadline = Instant::now() + within;
        if self.speaks(READ, within).await.is_err() {
            return Err(NoArrival::Silent);
        }
        let mut first = std::mem::take(&mut self.buffer);
        let tls = self.tls.insert(Box::new(TlsEnd {
            session: tls::Session::new(config).map_err(NoArrival::Tls)?,
            opened: Vec::new(),
        }));
        let mut shaken = tls.session.open(&mut first, &mut tls.opened);
        drop(first);
        let shaking = async {
            loop {
                // The last flight, or the alert.
                let flushed = flush(&self.stream, &mut tls.session).await;
                shaken.map_err(NoArrival::Tls)?;
                let left = flushed.is_err();
                if !left && !tls.session.is_handshaking() {
                    return Ok(());
                }
                if left || self.stream.readable().await.is_err() {
                    return Err(NoArrival::Refused(Refusal::new(
                        Reason::TlsHandshakeFailed,
                        "the client left within the handshake",
                    )));
                }
                shaken = match tls.receive(&self.stream) {
                    Ok(0) => Err(rustls::Error::General(
                        "the client left within the handshake".into(),
                    )),
                    Ok(_) => Ok(()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
                    Err(error) => Err(of_rustls(error)),
                };
            }
        };
        match timeout_at(deadline, shaking).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => return Err(why),
            Err(_) => return Err(NoArrival::Refused(Reason::TlsHandshakeTimeout.into())),
        }
        self.told = Told::ByAnswer;
        Ok(&tls.session)
    }
}

impl TlsEnd {
    /// As [`Downstream::poll_read`]: opens records until there is something in one, and moves as much as there is room for.
    pub(super) fn poll_read(
        &mut self,
        stream: &TcpStream,
        buffer: &mut Vec<u8>,
        room: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if room == 0 {
            ready!(stream.poll_read_ready(cx))?;
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        }
        while self.opened.is_empty() {
            if self.session.has_ended() {
                return Poll::Ready(Ok(0));
            }
            ready!(stream.poll_read_ready(cx))?;
            match self.receive(stream) {
                Ok(0) => return Poll::Ready(Ok(0)),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Poll::Ready(Err(error));
                }
                _ => {}
            }
        }
        let count = room.min(self.opened.len());
        buffer.extend(self.opened.drain(..count));
        if self.opened.is_empty() {
            self.opened = Vec::new();
        }
        Poll::Ready(Ok(count))
    }

    /// Receives sealed bytes once, and opens them. Gives their number.
    fn receive(&mut self, stream: &TcpStream) -> io::Result<usize> {
        let mut sealed = vec![0; self.session.waiting() + SEALED];
        let waiting = self.session.lay_out(&mut sealed);
        let received = stream.try_read(&mut sealed[waiting..]);
        let end = waiting + *received.as_ref().unwrap_or(&0);
        self.session
            .open(&mut sealed[..end], &mut self.opened)
            .map_err(io::Error::other)?;
        received
    }
}

/// Sends what a session has to send.
pub(super) async fn flush(stream: &TcpStream, session: &mut tls::Session) -> io::Result<()> {
    while !session.outgoing().is_empty() {
        stream.writable().await?;
        match stream.try_write(session.outgoing()) {
            Ok(sent) => session.sent(sent),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The error that [`TlsEnd::receive`] passed on.
fn of_rustls(error: io::Error) -> rustls::Error {
    match error.downcast::<rustls::Error>() {
        Ok(error) => error,
        Err(error) => rustls::Error::General(error.to_string()),
    }
}

/// The same as [`READ`], under seal.
const SEALED: usize = 4096;

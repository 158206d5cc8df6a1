//! The relay's own end of a TLS connection, without its I/O: sealed bytes go in and come out, and what is in them.
//!
//! It is built on rustls' unbuffered interface, so that whoever moves the bytes decides what holds them: a connection at rest, with
//! no half record and nothing unsent, holds none.

#[cfg(test)]
mod tests;

use std::fmt;
use std::mem;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{Error, ServerConfig};

/// The state of a connection that clients begin.
pub struct TlsSession {
    connection: UnbufferedServerConnection,
    /// Came in, and is no whole record or handshake message yet.
    incoming: Vec<u8>,
    /// To be sent before anything that is sealed later.
    outgoing: Vec<u8>,
    /// The peer's `close_notify` came.
    ended: bool,
    /// Nothing more can be opened or sealed.
    failed: bool,
}

impl TlsSession {
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self {
            connection: UnbufferedServerConnection::new(config)?,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            ended: false,
            failed: false,
        })
    }

    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether the peer said that it sends no more (RFC 8446, 6.1).
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The peer's own certificate, verified, if the listener asked for one.
    pub fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.connection.peer_certificates()?.first()
    }

    /// Bytes that wait for the rest of their record or message, at most [`MAX_WAITING`].
    pub fn waiting(&self) -> usize {
        self.incoming.len()
    }

    /// Moves what waits for the rest of its record to the front of `buffer`, and gives its length; what is received next belongs
    /// behind it. The whole then goes to [`Self::open`]. The buffer must have room for what is [`Self::waiting`].
    pub fn lay_out(&mut self, buffer: &mut [u8]) -> usize {
        let waiting = mem::take(&mut self.incoming);
        buffer[..waiting.len()].copy_from_slice(&waiting);
        waiting.len()
    }

    /// Opens what was laid out and received, and appends what was in it to `opened`. After an error there is nothing to do but to
    /// send what is [`Self::outgoing`], and close.
    pub fn open(&mut self, sealed: &mut [u8], opened: &mut Vec<u8>) -> Result<(), Error> {
        let mut used = 0;
        if let Err(error) = self.process(sealed, &mut used, opened) {
            self.alert(&mut sealed[used..]);
            self.failed = true;
            return Err(error);
        }
        // What follows the peer's end is to be ignored.
        let rest = if self.ended { &[] } else { &sealed[used..] };
        if rest.len() > MAX_WAITING {
            self.failed = true;
            return Err(Error::General(
                "a handshake message that is too long".into(),
            ));
        }
        self.incoming = rest.to_vec();
        Ok(())
    }

    /// Seals `plain`, and appends it to `sealed`, which must go out behind what is [`Self::outgoing`].
    pub fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>) -> Result<(), Error> {
        self.write(Some(plain), sealed)
    }

    /// Says that no more will be sent.
    pub fn close(&mut self, sealed: &mut Vec<u8>) -> Result<(), Error> {
        self.write(None, sealed)
    }

    /// What is to be sent.
    pub fn outgoing(&self) -> &[u8] {
        &self.outgoing
    }

    /// So many bytes of it were sent.
    pub fn sent(&mut self, count: usize) {
        if count >= self.outgoing.len() {
            self.outgoing = Vec::new();
        } else {
            self.outgoing.drain(..count);
        }
    }

    /// Keeps what was sealed and couldn't be sent.
    pub fn keep(&mut self, unsent: &[u8]) {
        self.outgoing.extend_from_slice(unsent);
    }

    /// Works through `sealed`; `used` is how much of it is done with.
    fn process(
        &mut self,
        sealed: &mut [u8],
        used: &mut usize,
        opened: &mut Vec<u8>,
    ) -> Result<(), Error> {
        loop {
            let UnbufferedStatus { discard, state } =
                self.connection.process_tls_records(&mut sealed[*used..]);
            *used += discard;
            match state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        *used += record.discard;
                        opened.extend_from_slice(record.payload);
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    fill(&mut self.outgoing, |room| data.encode(room))?;
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => self.ended = true,
                // Early data is never offered, and a state that isn't known yet can't be got past.
                _ => return Ok(()),
            }
        }
    }

    /// After an error rustls may have an alert to send; `rest` is what it hasn't worked through.
    fn alert(&mut self, rest: &mut [u8]) {
        let status = self.connection.process_tls_records(rest);
        if let Ok(ConnectionState::EncodeTlsData(mut data)) = status.state {
            // Without it the peer learns as much from the close.
            let _ = fill(&mut self.outgoing, |room| data.encode(room));
        }
    }

    /// Seals `plain`, or else the end.
    fn write(&mut self, plain: Option<&[u8]>, sealed: &mut Vec<u8>) -> Result<(), Error> {
        if self.failed {
            return Err(Error::General("the connection has failed".into()));
        }
        // With what waits, since rustls may have its place in it.
        let mut incoming = mem::take(&mut self.incoming);
        let mut used = 0;
        let result = loop {
            let UnbufferedStatus { discard, state } =
                self.connection.process_tls_records(&mut incoming[used..]);
            used += discard;
            match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    break fill(sealed, |room| match plain {
                        Some(plain) => traffic.encrypt(plain, room),
                        None => traffic.queue_close_notify(room),
                    });
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    if let Err(error) = fill(sealed, |room| data.encode(room)) {
                        break Err(error);
                    }
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.ended = true,
                Ok(_) => break Err(Error::HandshakeNotComplete),
                Err(error) => break Err(error),
            }
        };
        incoming.drain(..used);
        self.incoming = incoming;
        result
    }
}

impl fmt::Debug for TlsSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSession")
            .field("handshaking", &self.is_handshaking())
            .field("incoming", &self.incoming.len())
            .field("outgoing", &self.outgoing.len())
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// How much more room is needed, of rustls' two ways to say so.
trait Shortage {
    fn required(&self) -> Option<usize>;
}

impl Shortage for EncodeError {
    fn required(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(size) => Some(size.required_size),
            Self::AlreadyEncoded => None,
        }
    }
}

impl Shortage for EncryptError {
    fn required(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(size) => Some(size.required_size),
            Self::EncryptExhausted => None,
        }
    }
}

/// Appends what `write` writes into room that is made for it. Asked with none, it says how much it needs.
fn fill<E: Shortage + fmt::Display>(
    buffer: &mut Vec<u8>,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<(), Error> {
    let length = buffer.len();
    let mut written = write(&mut []);
    if let Some(required) = written.as_ref().err().and_then(Shortage::required) {
        buffer.resize(length + required, 0);
        written = write(&mut buffer[length..]);
    }
    buffer.truncate(length + *written.as_ref().unwrap_or(&0));
    match written {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::General(error.to_string())),
    }
}

/// Bytes that may wait for the rest of their handshake message: a client's certificates need a few thousand.
pub const MAX_WAITING: usize = 32 * 1024;

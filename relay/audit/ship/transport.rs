//! Sends messages to a syslog server: over a stream that is checked before it is written to, or as
//! datagrams.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::io::Errno;
use rustls::{ClientConnection, StreamOwned};

use super::stream::{BoundedStream, PATIENCE};
use super::syslog::frame;

/// A connection to a server.
pub(super) struct Transport {
    link: Link,
    /// Framed messages that wait for [`Transport::flush`].
    pending: Vec<u8>,
}

/// The socket of a connection.
pub(super) enum Link {
    Tls(Box<StreamOwned<ClientConnection, BoundedStream>>),
    Tcp(BoundedStream),
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

/// Whether a message was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Yes,
    /// The message is longer than a datagram can be.
    TooLong,
}

impl Transport {
    pub(super) fn new(link: Link) -> Self {
        Self {
            link,
            pending: Vec::new(),
        }
    }

    /// Takes a message. Over a stream it is sent by [`Self::flush`].
    pub(super) fn send(&mut self, message: &[u8]) -> io::Result<Taken> {
        let sent = match &self.link {
            Link::Tls(_) | Link::Tcp(_) => {
                frame(message, &mut self.pending);
                return Ok(Taken::Yes);
            }
            Link::Udp(socket) => socket.send(message),
            Link::Unix(socket) => socket.send(message),
        };
        match sent {
            Ok(_) => Ok(Taken::Yes),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::MSGSIZE) => {
                Ok(Taken::TooLong)
            }
            Err(error) => Err(error),
        }
    }

    /// Bytes that wait for [`Self::flush`].
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.begin_use();
        match &mut self.link {
            Link::Tls(stream) => {
                stream.write_all(&self.pending)?;
                stream.flush()?;
            }
            Link::Tcp(stream) => stream.write_all(&self.pending)?,
            Link::Udp(_) | Link::Unix(_) => {}
        }
        self.pending.clear();
        Ok(())
    }

    /// Fails when the peer has closed the stream, because a write would notice that too late. Bytes
    /// from the peer are ignored.
    pub(super) fn check(&mut self) -> io::Result<()> {
        self.begin_use();
        let Some(socket) = self.tcp() else {
            return Ok(());
        };
        socket.set_nonblocking(true)?;
        let ended = self.read_to_end();
        if let Some(socket) = self.tcp() {
            socket.set_nonblocking(false)?;
        }
        still_open(ended)
    }

    /// Closes the stream, and waits until the peer closes it too.
    ///
    /// A peer that has read everything closes in order, one that hasn't sends a reset (RFC 1122,
    /// 4.2.2.13). So a close in order shows that all records were read.
    pub(super) fn close(mut self) -> io::Result<()> {
        self.begin_use();
        let Some(socket) = self.tcp() else {
            return Ok(());
        };
        // A close that the peer sent before it got the last records confirms nothing. Give it time
        // to arrive, to tell the two apart.
        socket.set_read_timeout(Some(LISTEN))?;
        let ended = self.read_to_end();
        still_open(ended)?;
        if let Link::Tls(stream) = &mut self.link {
            stream.conn.send_close_notify();
            stream.conn.complete_io(&mut stream.sock)?;
        }
        if let Some(socket) = self.tcp() {
            socket.shutdown(Shutdown::Write)?;
            socket.set_read_timeout(Some(PATIENCE))?;
        }
        self.read_to_end().map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => io::Error::new(
                ErrorKind::TimedOut,
                "the server doesn't read to the end of the connection",
            ),
            _ => error,
        })
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match &self.link {
            Link::Tls(stream) => Some(stream.sock.socket()),
            Link::Tcp(stream) => Some(stream.socket()),
            Link::Udp(_) | Link::Unix(_) => None,
        }
    }

    fn begin_use(&mut self) {
        match &mut self.link {
            Link::Tls(stream) => stream.sock.begin_use(),
            Link::Tcp(stream) => stream.begin_use(),
            Link::Udp(_) | Link::Unix(_) => {}
        }
    }

    fn read_to_end(&mut self) -> io::Result<()> {
        let mut scrap = [0; 1024];
        loop {
            let read = match &mut self.link {
                Link::Tls(stream) => stream.read(&mut scrap),
                Link::Tcp(stream) => stream.read(&mut scrap),
                Link::Udp(_) | Link::Unix(_) => return Ok(()),
            };
            match read {
                Ok(0) => return Ok(()),
                // A TLS peer that closes without a close_notify has still read up to our own close.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
    }
}

/// Turns the result of a short read into whether the stream is open.
fn still_open(ended: io::Result<()>) -> io::Result<()> {
    match ended {
        Ok(()) => Err(io::Error::new(
            ErrorKind::ConnectionAborted,
            "the server ended the connection",
        )),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}

/// How long to wait for a close of the peer. It is longer than the way to the server and back.
const LISTEN: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 300 });

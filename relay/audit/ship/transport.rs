//! The way to a syslog server: a stream that is checked before it is written to, or datagrams.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::SyslogServer;
use super::syslog::frame;
use crate::authority::{Authority, Host};
use crate::os::{self, Keepalive};

/// How a server is connected to, again and again.
#[derive(Debug)]
pub(in crate::audit) struct Connector {
    server: SyslogServer,
    tls: Option<Arc<ClientConfig>>,
}

/// A server that is connected to.
pub(super) struct Transport {
    link: Link,
    /// Messages that wait for a write of their own.
    pending: Vec<u8>,
}

enum Link {
    Tls(Box<StreamOwned<ClientConnection, Bounded>>),
    Tcp(Bounded),
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

/// A stream whose every use ends: whoever takes or gives a byte now and then is no better than who hangs.
struct Bounded {
    stream: TcpStream,
    until: Instant,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Yes,
    /// No datagram is that long.
    TooLong,
}

impl Connector {
    /// With `ca` only the authorities of that PEM file may vouch for a server, else those of the system: who names its own means
    /// no other.
    ///
    /// Fails when that file can't be used.
    pub(in crate::audit) fn new(server: SyslogServer, ca: Option<&Path>) -> io::Result<Self> {
        let tls = match &server {
            SyslogServer::Tls(_) => Some(Arc::new(client_config(ca)?)),
            _ => None,
        };
        Ok(Self { server, tls })
    }

    pub(super) fn server(&self) -> &SyslogServer {
        &self.server
    }

    pub(super) fn connect(&self) -> io::Result<Transport> {
        let link = match (&self.server, &self.tls) {
            (SyslogServer::Unix(path), _) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_write_timeout(Some(PATIENCE))?;
                Link::Unix(socket)
            }
            (SyslogServer::Udp(server), _) => Link::Udp(connect_udp(server)?),
            (SyslogServer::Tls(server), Some(config)) => {
                let stream = connect_tcp(server)?;
                let name = server_name(&server.host)?;
                let connection =
                    ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
                let mut stream = StreamOwned::new(connection, stream);
                while stream.conn.is_handshaking() {
                    stream.conn.complete_io(&mut stream.sock)?;
                }
                Link::Tls(Box::new(stream))
            }
            (SyslogServer::Tcp(server) | SyslogServer::Tls(server), _) => {
                Link::Tcp(connect_tcp(server)?)
            }
        };
        Ok(Transport {
            link,
            pending: Vec::new(),
        })
    }
}

impl Transport {
    /// Takes a message. In a stream it goes out with [`Self::flush`].
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

    /// Fails when the peer has closed the stream, which a write would find out too late. What it says is ignored.
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

    /// Ends the stream, and waits until the peer ends it too. A TCP does so in order only when everything was read, and with a
    /// reset when not (RFC 1122, 4.2.2.13); so what was sent has been read.
    pub(super) fn close(mut self) -> io::Result<()> {
        self.begin_use();
        let Some(socket) = self.tcp() else {
            return Ok(());
        };
        // An end that the peer had sent before the last of it came confirms nothing; it must have time to get here.
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
            Link::Tls(stream) => Some(&stream.sock.stream),
            Link::Tcp(stream) => Some(&stream.stream),
            Link::Udp(_) | Link::Unix(_) => None,
        }
    }

    fn begin_use(&mut self) {
        let until = Instant::now() + USE;
        match &mut self.link {
            Link::Tls(stream) => stream.sock.until = until,
            Link::Tcp(stream) => stream.until = until,
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
                // A TLS peer that closes without saying so has still read up to our own end.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
    }
}

impl Bounded {
    fn check(&self) -> io::Result<()> {
        if Instant::now() < self.until {
            return Ok(());
        }
        Err(io::Error::new(
            ErrorKind::TimedOut,
            "the server is too slow, or sends without an end",
        ))
    }
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.stream.read(buffer)
    }
}

impl Write for Bounded {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.check()?;
        self.stream.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Judges what came of reading for a moment.
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

fn connect_tcp(server: &Authority) -> io::Result<Bounded> {
    let mut failure = None;
    for address in (server.host.to_string(), server.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                let keepalive = Keepalive {
                    idle: PATIENCE,
                    user_timeout: PATIENCE,
                };
                os::keep_alive(&stream, &keepalive)?;
                stream.set_write_timeout(Some(PATIENCE))?;
                stream.set_read_timeout(Some(PATIENCE))?;
                return Ok(Bounded {
                    stream,
                    until: Instant::now() + USE,
                });
            }
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(no_address))
}

fn connect_udp(server: &Authority) -> io::Result<UdpSocket> {
    let address = (server.host.to_string(), server.port)
        .to_socket_addrs()?
        .next()
        .ok_or_else(no_address)?;
    let any = if address.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    Ok(socket)
}

fn no_address() -> io::Error {
    io::Error::new(ErrorKind::NotFound, "the name has no address")
}

fn server_name(host: &Host) -> io::Result<ServerName<'static>> {
    match host {
        Host::Literal(address) => Ok((*address).into()),
        Host::Name(name) => ServerName::try_from(name.as_str().to_owned())
            .map_err(|error| io::Error::new(ErrorKind::InvalidInput, error)),
    }
}

fn client_config(ca: Option<&Path>) -> io::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots(ca)?)
        .with_no_client_auth();
    Ok(config)
}

fn roots(ca: Option<&Path>) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let wrong = |what: &dyn std::fmt::Display| {
        let message = format!("{}: {what}", path.display());
        io::Error::new(ErrorKind::InvalidData, message)
    };
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))? {
        let certificate = certificate.map_err(|error| wrong(&error))?;
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    if roots.is_empty() {
        return Err(wrong(&"there is no certificate in it"));
    }
    Ok(roots)
}

const CONNECT: Duration = Duration::from_secs(10);
/// How long the server may leave bytes unacknowledged, take none, or leave the end unread before the connection is given up.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 30 });
/// How long one use of a stream may take, beside a last wait.
const USE: Duration = PATIENCE.saturating_mul(2);
/// Longer than a way to the server and back.
const LISTEN: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 300 });

//! Connects to a syslog server, over TLS, TCP, UDP or a socket of this machine.

use std::io::{self, ErrorKind};
use std::net::{TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::SyslogServer;
use super::stream::{BoundedStream, PATIENCE};
use super::transport::{Link, Transport};
use crate::authority::{Authority, Host};
use crate::os::{self, Keepalive};

/// Connects to a server, once after each failure or close.
#[derive(Debug)]
pub(in crate::audit) struct Connector {
    server: SyslogServer,
    tls: Option<Arc<ClientConfig>>,
}

impl Connector {
    /// Reads the authorities that a TLS server's certificate may come from: those of the PEM file
    /// `ca`, or else the system's.
    ///
    /// With `ca` the system's don't count, because a site that names its own authority trusts no
    /// other.
    ///
    /// Fails when the file can't be used.
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
        Ok(Transport::new(link))
    }
}

fn connect_tcp(server: &Authority) -> io::Result<BoundedStream> {
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
                return Ok(BoundedStream::new(stream));
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

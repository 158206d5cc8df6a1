//! Connections to upstream servers, made only to addresses that policy has permitted.

mod happy_eyeballs;
mod outgoing;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;
use tokio::time::Instant;

pub use self::outgoing::{Outgoing, OutgoingGuard};
use crate::policy::PermittedAddrs;
use crate::proxy_error::{Reason, Refusal};

/// A connected upstream socket. `registered` must live as long as the stream, because the loop
/// check asks it.
#[derive(Debug)]
pub struct Dialled {
    pub stream: TcpStream,
    pub remote: SocketAddr,
    pub local: SocketAddr,
    pub registered: OutgoingGuard,
}

/// No address could be connected to. It has each that was tried, with its error.
#[derive(Debug)]
pub struct DialError {
    attempts: Vec<(SocketAddr, io::Error)>,
}

/// Connects to the first of the addresses that answers (RFC 8305), within `timeout` for all of them
/// together.
///
/// Dropping the future gives up every attempt at once.
pub async fn dial(
    addresses: &PermittedAddrs,
    port: u16,
    timeout: Duration,
    outgoing: &Outgoing,
) -> Result<Dialled, DialError> {
    dial_any(addresses.as_slice(), port, timeout, outgoing).await
}

async fn dial_any(
    addresses: &[IpAddr],
    port: u16,
    timeout: Duration,
    outgoing: &Outgoing,
) -> Result<Dialled, DialError> {
    let now = Instant::now();
    let deadline = now.checked_add(timeout).unwrap_or(now + FOREVER);
    let connect = |remote| connect(remote, outgoing);
    let raced = if let [only] = *addresses {
        happy_eyeballs::race(&[SocketAddr::new(only, port)], deadline, connect).await
    } else {
        let candidates = happy_eyeballs::interleave(addresses, port);
        happy_eyeballs::race(&candidates, deadline, connect).await
    };
    raced.map_err(|attempts| DialError { attempts })
}

async fn connect(remote: SocketAddr, outgoing: &Outgoing) -> io::Result<Dialled> {
    // The socket is close-on-exec too, which `Socket::new` sees to.
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(remote), kind, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&remote.into()) {
        Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => return Err(error),
        _ => {}
    }
    // The kernel has chosen the port by now, and no byte has gone out. So the connection is
    // registered before the relay could meet itself as its client.
    let stream = std::net::TcpStream::from(socket);
    let local = stream.local_addr()?;
    let registered = outgoing.register(local, remote);
    let stream = TcpStream::from_std(stream)?;
    // A connect that doesn't block ends by making the socket writable, and leaves its error in
    // SO_ERROR.
    stream.writable().await?;
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    Ok(Dialled {
        stream,
        remote,
        local,
        registered,
    })
}

impl DialError {
    /// Gives the reason of the most telling attempt. First comes a shortage of the relay itself,
    /// then a server's refusal, then silence. Last comes "no route", which any address of a family
    /// that the site doesn't have gives.
    fn reason(&self) -> Reason {
        let kinds = || self.attempts.iter().map(|(_, error)| error);
        if kinds().any(is_shortage) {
            Reason::AtCapacity
        } else if kinds().any(is_refusal) {
            Reason::ConnectionRefused
        } else if kinds().any(|error| error.kind() == io::ErrorKind::TimedOut) {
            Reason::ConnectionTimeout
        } else {
            Reason::Unreachable
        }
    }
}

/// Tells whether the server refused. A server that resets a connection which it has just accepted
/// refuses too.
fn is_refusal(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionRefused | ConnectionReset)
}

fn is_shortage(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (remote, error)) in self.attempts.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{remote}: {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for DialError {}

impl From<DialError> for Refusal {
    fn from(failure: DialError) -> Self {
        Self::new(failure.reason(), failure.to_string())
    }
}

/// The longest timeout. It replaces a timeout that the clock can't express.
const FOREVER: Duration = Duration::from_hours(365 * 24);

//! Binds a listening socket before the relay promises anything, and accepts from it until it is
//! closed.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

use crate::os::{self, AcceptTrouble};
use crate::server::options::ListenerOptions;
use crate::telemetry::Metrics;

/// A bound socket, and what it is for.
#[derive(Debug)]
pub(in crate::server) struct Listener {
    pub(in crate::server) options: Arc<ListenerOptions>,
    pub(in crate::server) address: SocketAddr,
    socket: TcpListener,
}

/// A port that can't be bound.
#[derive(Debug, thiserror::Error)]
#[error("listener \"{name}\" can't listen on {address}")]
pub struct BindError {
    name: Arc<str>,
    address: SocketAddr,
    source: io::Error,
}

impl Listener {
    /// Binds the socket of a listener.
    pub(in crate::server) fn bind(options: &ListenerOptions) -> Result<Self, BindError> {
        let socket = match bind(options.bind) {
            // The kernel has no IPv6. The unspecified address means "every address", so IPv4 alone
            // will do.
            Err(error)
                if error.raw_os_error() == Some(EAFNOSUPPORT)
                    && options.bind.ip().is_unspecified() =>
            {
                bind(SocketAddr::from((
                    Ipv4Addr::UNSPECIFIED,
                    options.bind.port(),
                )))
            }
            result => result,
        };
        let bound = socket.and_then(|socket| Self::on(options, socket));
        bound.map_err(|source| BindError {
            name: options.name.clone(),
            address: options.bind,
            source,
        })
    }

    /// Makes a listener of a socket that listens already.
    pub(super) fn on(options: &ListenerOptions, socket: TcpListener) -> io::Result<Self> {
        Ok(Self {
            options: Arc::new(options.clone()),
            address: socket.local_addr()?,
            socket,
        })
    }

    /// Accepts for ever, and hands each connection to `take`. Trouble with one connection, or a
    /// shortage, never ends the listener.
    pub(in crate::server) async fn accept(
        self,
        metrics: Arc<Metrics>,
        take: impl Fn(OwnedFd, SocketAddr, &Arc<ListenerOptions>),
    ) -> io::Result<()> {
        #[expect(
            deprecated,
            reason = "a std TcpListener keeps one valid descriptor for life, which is all that the unsafe successor asks for; a \
                      tokio listener would register each socket with this thread's reactor only to take it out again"
        )]
        let listener = AsyncFd::with_interest(self.socket, Interest::READABLE)?;
        let mut complaint = Complaint::default();
        loop {
            let accepted = listener
                .async_io(Interest::READABLE, |socket| {
                    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                    Ok(acceptfrom_with(socket, flags)?)
                })
                .await;
            let error = match accepted {
                Ok((socket, peer)) => {
                    if let Some(Ok(peer)) = peer.map(SocketAddr::try_from) {
                        take(socket, peer, &self.options);
                    }
                    continue;
                }
                Err(error) => error,
            };
            metrics.accept_errors.inc();
            if let AcceptTrouble::BackOff = os::triage_accept(&error) {
                complaint.say(&self.options.name, &error);
                sleep(BACK_OFF).await;
            }
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit `TCP_NODELAY`, which saves a system call for each.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Keeps a lasting shortage from filling the log.
#[derive(Default)]
struct Complaint(Option<Instant>);

impl Complaint {
    fn say(&mut self, listener: &str, error: &io::Error) {
        let now = Instant::now();
        if self
            .0
            .is_none_or(|last| now.duration_since(last) >= COMPLAIN_EVERY)
        {
            tracing::error!(listener, %error, "can't accept connections: retrying");
            self.0 = Some(now);
        }
    }
}

/// Linux's error number where the kernel was built or booted without IPv6.
const EAFNOSUPPORT: i32 = 97;
/// The longest queue of connections not yet accepted. The kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
const BACK_OFF: Duration = Duration::from_millis(100);
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

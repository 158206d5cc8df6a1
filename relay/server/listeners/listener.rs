//! Listening sockets: bound before anything is promised, accepted from until told to stop.

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

use crate::http::answer;
use crate::os::{self, AcceptTrouble};
use crate::proxy_error::Reason;
use crate::server::options::ListenerOptions;
use crate::server::{Shared, workers::Dealer};

/// A bound socket.
#[derive(Debug)]
pub(in crate::server) struct Listener {
    pub(in crate::server) options: Arc<ListenerOptions>,
    pub(in crate::server) address: SocketAddr,
    socket: TcpListener,
}

/// A port that can't be had.
#[derive(Debug, thiserror::Error)]
#[error("listener \"{name}\" can't listen on {address}")]
pub struct BindError {
    name: Arc<str>,
    address: SocketAddr,
    source: io::Error,
}

impl Listener {
    pub(in crate::server) fn bind(options: &ListenerOptions) -> Result<Self, BindError> {
        let socket = match bind(options.bind) {
            // The kernel has no IPv6: the unspecified address still means "every address".
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

    /// The listener of these options on a socket that listens.
    pub(in crate::server) fn on(
        options: &ListenerOptions,
        socket: TcpListener,
    ) -> io::Result<Self> {
        Ok(Self {
            options: Arc::new(options.clone()),
            address: socket.local_addr()?,
            socket,
        })
    }

    /// Accepts for ever. Trouble with one connection, or a shortage, never ends the listener.
    pub(in crate::server) async fn accept(
        self,
        shared: Arc<Shared>,
        dealer: Dealer,
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
                        admit(&shared, &dealer, &self.options, socket, peer);
                    }
                    continue;
                }
                Err(error) => error,
            };
            shared.metrics.accept_errors.inc();
            if let AcceptTrouble::BackOff = os::triage_accept(&error) {
                complaint.say(&self.options.name, &error);
                sleep(BACK_OFF).await;
            }
        }
    }
}

/// Counts the connection and deals it to a worker, or turns it away.
fn admit(
    shared: &Arc<Shared>,
    dealer: &Dealer,
    listener: &Arc<ListenerOptions>,
    socket: OwnedFd,
    peer: SocketAddr,
) {
    shared.metrics.connections.inc();
    let stream = std::net::TcpStream::from(socket);
    // A balancer's connections are those of whom it will announce.
    let source = (!listener.has_balancer(peer.ip())).then_some(peer.ip());
    let slot = match shared
        .limiter
        .connection(source, &shared.settings.load().limits)
    {
        Ok(slot) => slot,
        Err(full) => {
            shared.metrics.connections_turned_away.inc();
            tracing::debug!(client = %peer.ip(), %full, "turned away");
            return turn_away(stream, listener);
        }
    };
    let (shared, listener) = (shared.clone(), listener.clone());
    dealer.deal(async move || {
        let _open = shared.open_connection();
        match tokio::net::TcpStream::from_std(stream) {
            Ok(stream) => {
                crate::server::session::serve(&shared, stream, peer, &listener, slot).await
            }
            Err(error) => tracing::error!(%error, "an accepted connection can't be served"),
        }
    });
}

/// Answers without a session, in the accept loop: whatever this costs, an attacker gets as often as he likes.
fn turn_away(mut stream: std::net::TcpStream, listener: &ListenerOptions) {
    use std::io::{Read, Write};

    // Unread bytes would turn the close into a reset, which can overtake the answer. The socket doesn't block.
    let mut sent = [0; 1024];
    let _ = stream.read(&mut sent);
    let reason = Reason::AtCapacity;
    let answer = match (listener.begins_with_tls(), reason.alert()) {
        (true, Some(alert)) => alert.record().to_vec(),
        (true, None) => return,
        (false, _) => answer::refusal(&reason.into(), NO_SESSION),
    };
    let _ = stream.write(&answer);
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
    // Accepted sockets inherit it, which saves each a system call.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Keeps a shortage that lasts from filling the log.
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

/// Linux's number; the kernel was built or booted without IPv6.
const EAFNOSUPPORT: i32 = 97;
/// More than net.core.somaxconn is cut to it.
const BACKLOG: i32 = 4096;
const BACK_OFF: Duration = Duration::from_millis(100);
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);
pub(in crate::server) const NO_SESSION: &str = "-";

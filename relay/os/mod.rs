//! What only the kernel knows or does: socket options, the machine's own addresses, limits and
//! identity. Linux only.

mod activation;
mod routes;
pub mod sandbox;
mod service_manager;

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use socket2::{SockRef, TcpKeepalive};

pub use self::activation::{ActivationError, PassedSockets};
pub use self::service_manager::ServiceManager;

/// How a dead peer is noticed on a connection that is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// The silence before the first probe (`TCP_KEEPIDLE`, whole seconds).
    pub idle: Duration,
    /// How long sent data or a probe may stay unacknowledged (`TCP_USER_TIMEOUT`, RFC 5482). Zero
    /// leaves it to the kernel.
    pub user_timeout: Duration,
}

/// What an accept loop does after an error. No error ends it.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptTrouble {
    /// Only that one connection failed, so accept the next at once.
    Retry,
    /// A resource is used up. Accepting again at once would fail too, and the loop would spin.
    BackOff,
}

/// Sets keepalive and `TCP_USER_TIMEOUT` on a TCP socket in any state.
pub fn keep_alive(stream: &impl AsFd, keepalive: &Keepalive) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let user_timeout = keepalive.user_timeout.min(MAX_USER_TIMEOUT);
    let idle = keepalive.idle.clamp(SECOND, MAX_KEEPALIVE);
    // The user timeout decides when a peer is dead. The interval only has to be well below it.
    let keepalive = TcpKeepalive::new()
        .with_time(idle)
        .with_interval((idle / 4).max(SECOND));
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(user_timeout))
}

/// Tells whether a connection to `address` would end at this machine. It asks the kernel for a
/// route, and sends no packet.
///
/// Unspecified addresses count, because connecting to one reaches the loopback interface.
pub fn is_local_address(address: IpAddr) -> bool {
    let address = address.to_canonical();
    if address.is_unspecified() || address.is_loopback() {
        return true;
    }
    source_towards(address).is_ok_and(|source| source == address) || is_secondary(address)
}

/// Gives the address from which this machine reaches the rest of the world, if it does. It sends no
/// packet.
pub fn primary_address() -> Option<IpAddr> {
    // No machine has an address of TEST-NET-1 (RFC 5737), so the default route answers.
    source_towards(IpAddr::from([192, 0, 2, 1])).ok()
}

fn source_towards(address: IpAddr) -> io::Result<IpAddr> {
    let socket = UdpSocket::bind(unspecified_like(address))?;
    // Any port will do, because connecting a datagram socket only looks up the route.
    socket.connect(SocketAddr::new(address, 9))?;
    Ok(socket.local_addr()?.ip())
}

/// Tells whether `address` is a second IPv4 address of a subnet. The route doesn't show that,
/// because such an address is reached from the first one.
///
/// Binding shows it, unless `ip_nonlocal_bind` lets any address be bound. So an address that no
/// machine has is tried too.
fn is_secondary(address: IpAddr) -> bool {
    address.is_ipv4()
        && !address.is_multicast()
        && UdpSocket::bind((address, 0)).is_ok()
        && UdpSocket::bind((UNASSIGNED, 0)).is_err()
}

fn unspecified_like(address: IpAddr) -> SocketAddr {
    match address {
        IpAddr::V4(_) => SocketAddr::from(([0; 4], 0)),
        IpAddr::V6(_) => SocketAddr::from(([0u16; 8], 0)),
    }
}

/// Sorts the errors of accept(2). The errors of one connection are listed; after all others the
/// caller must wait.
pub fn triage_accept(error: &io::Error) -> AcceptTrouble {
    match Errno::from_io_error(error) {
        Some(
            Errno::AGAIN
            | Errno::CONNABORTED
            | Errno::CONNRESET
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::INTR
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::NONET
            | Errno::NOPROTOOPT
            | Errno::OPNOTSUPP
            | Errno::PERM
            | Errno::PROTO
            | Errno::TIMEDOUT,
        ) => AcceptTrouble::Retry,
        _ => AcceptTrouble::BackOff,
    }
}

/// Raises the soft limit of open descriptors to the hard one, and gives the soft limit that
/// results.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: maximum,
                maximum,
            },
        )?;
    }
    Ok(maximum.unwrap_or(u64::MAX))
}

/// Lists the gateways of the default routes. Behind a gateway many clients may share one address.
pub fn default_gateways() -> Vec<IpAddr> {
    // A table is missing where its family is off.
    let ipv4 = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let ipv6 = fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
    routes::default_gateways(&ipv4, &ipv6)
}

/// Gives the kernel's random id of this boot. It is read once, because it can't change while a
/// process lives.
pub fn boot_id() -> Option<String> {
    static ID: OnceLock<Option<String>> = OnceLock::new();
    let read = || {
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(id.trim().to_owned())
    };
    ID.get_or_init(read).clone()
}

/// Gives the milliseconds since the boot, suspended time included. No user can set this clock.
pub fn uptime_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    seconds * 1000 + u64::try_from(now.tv_nsec / 1_000_000).unwrap_or_default()
}

/// Gives the name of this machine, as `uname -n` does.
pub fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// An address of class E (RFC 1112, 4), which no machine has.
const UNASSIGNED: Ipv4Addr = Ipv4Addr::new(240, 0, 0, 1);
const SECOND: Duration = Duration::from_secs(1);
/// The kernel's own bound on `TCP_KEEPIDLE`.
const MAX_KEEPALIVE: Duration = Duration::from_secs(32_767);
/// `TCP_USER_TIMEOUT` is a C int of milliseconds.
const MAX_USER_TIMEOUT: Duration = Duration::from_millis(i32::MAX as u64);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn keepalive_reaches_the_socket_and_is_bounded() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        for (keepalive, user_timeout, idle, interval, timeout) in [
            (60, 120_000, 60, 15, 120_000),
            (0, 0, 1, 1, 0),
            (u64::MAX, u64::MAX, 32_767, 8_191, 2_147_483_647),
        ] {
            let keepalive = Keepalive {
                idle: Duration::from_secs(keepalive),
                user_timeout: Duration::from_millis(user_timeout),
            };
            keep_alive(&stream, &keepalive).unwrap();
            let socket = SockRef::from(&stream);
            assert!(socket.keepalive().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap().as_secs(), idle);
            assert_eq!(socket.tcp_keepalive_interval().unwrap().as_secs(), interval);
            let set = socket.tcp_user_timeout().unwrap().unwrap_or_default();
            assert_eq!(set.as_millis(), timeout);
        }
    }

    #[test]
    fn knows_its_own_addresses() {
        for own in [
            "127.0.0.1",
            "127.9.8.7",
            "::1",
            "0.0.0.0",
            "::",
            "::ffff:127.0.0.1",
        ] {
            assert!(is_local_address(own.parse().unwrap()), "{own}");
        }
        for foreign in ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "224.0.0.1"] {
            assert!(!is_local_address(foreign.parse().unwrap()), "{foreign}");
        }
        // Where there is a network at all, the address towards it is this machine's.
        if let Ok(own) = source_towards("192.0.2.1".parse().unwrap()) {
            assert!(is_local_address(own), "{own}");
        }
    }

    #[test]
    fn only_errors_of_one_connection_are_retried_at_once() {
        for (errno, expected) in [
            (Errno::CONNABORTED, AcceptTrouble::Retry),
            (Errno::PERM, AcceptTrouble::Retry),
            (Errno::NETDOWN, AcceptTrouble::Retry),
            (Errno::MFILE, AcceptTrouble::BackOff),
            (Errno::NFILE, AcceptTrouble::BackOff),
            (Errno::NOBUFS, AcceptTrouble::BackOff),
            (Errno::NOMEM, AcceptTrouble::BackOff),
            (Errno::BADF, AcceptTrouble::BackOff),
        ] {
            assert_eq!(triage_accept(&errno.into()), expected, "{errno:?}");
        }
        let not_of_the_kernel = io::Error::other("no errno");
        assert_eq!(triage_accept(&not_of_the_kernel), AcceptTrouble::BackOff);
    }

    #[test]
    fn the_descriptor_limit_is_raised_once_for_all() {
        let limit = raise_descriptor_limit().unwrap();
        assert_eq!(
            getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
            limit
        );
        assert_eq!(raise_descriptor_limit().unwrap(), limit);
    }

    #[test]
    fn the_machine_has_an_identity() {
        assert_eq!(boot_id().unwrap().len(), 36);
        assert!(!host_name().is_empty());
    }
}

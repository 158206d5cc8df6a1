use std::fs;
use std::future::poll_fn;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::pin::pin;
use std::task::Poll;

use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LOOPBACK_V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

async fn listen(address: IpAddr) -> (TcpListener, u16) {
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A listener whose backlog is full, so that the kernel drops every further SYN.
struct BlackHole {
    port: u16,
    _listener: Socket,
    _filling: Vec<Socket>,
}

impl BlackHole {
    fn new(address: IpAddr, port: u16) -> Self {
        let new = || {
            let kind = Type::STREAM.nonblocking();
            Socket::new(Domain::for_address(SocketAddr::new(address, 0)), kind, None).unwrap()
        };
        let listener = new();
        listener
            .bind(&SocketAddr::new(address, port).into())
            .unwrap();
        listener.listen(0).unwrap();
        let target = listener.local_addr().unwrap();
        let filling = (0..4)
            .map(|_| {
                let socket = new();
                let _ = socket.connect(&target);
                socket
            })
            .collect();
        Self {
            port: target.as_socket().unwrap().port(),
            _listener: listener,
            _filling: filling,
        }
    }
}

/// Counts the sockets of this process that are connected or connecting to `port`.
fn sockets_towards(port: u16) -> usize {
    let remote = format!("0100007F:{port:04X}");
    let own: Vec<String> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| {
            let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
    fs::read_to_string("/proc/self/net/tcp")
        .unwrap()
        .lines()
        .filter(|line| {
            let fields: Vec<_> = line.split_ascii_whitespace().collect();
            fields.get(2) == Some(&remote.as_str())
                && fields
                    .get(9)
                    .is_some_and(|inode| own.iter().any(|own| own == inode))
        })
        .count()
}

#[tokio::test]
async fn connects_over_both_families_and_is_registered_meanwhile() {
    for address in [LOOPBACK, LOOPBACK_V6] {
        let (listener, port) = listen(address).await;
        let outgoing = Outgoing::default();
        let dialled = dial_any(&[address], port, Duration::from_secs(1), &outgoing)
            .await
            .unwrap();
        assert_eq!(dialled.remote, SocketAddr::new(address, port));
        assert_eq!(dialled.local, dialled.stream.local_addr().unwrap());
        assert!(dialled.stream.nodelay().unwrap());

        let (accepted, source) = listener.accept().await.unwrap();
        let own = accepted.local_addr().unwrap();
        assert!(outgoing.contains(source, || Ok(own)));
        drop(dialled);
        assert!(!outgoing.contains(source, || Ok(own)));
    }
}

#[tokio::test]
async fn an_ipv4_connection_is_recognised_on_a_dual_stack_listener() {
    let listener = TcpListener::bind("[::]:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let outgoing = Outgoing::default();
    let dialled = dial_any(&[LOOPBACK], port, Duration::from_secs(1), &outgoing)
        .await
        .unwrap();
    let (accepted, source) = listener.accept().await.unwrap();
    assert!(source.is_ipv6() && dialled.local.is_ipv4());
    assert!(outgoing.contains(source, || accepted.local_addr()));
}

#[tokio::test]
async fn permitted_addresses_are_what_is_dialled() {
    let (_listener, port) = listen(LOOPBACK).await;
    let permitted = PermittedAddrs::for_tests(&[LOOPBACK]);
    let dialled = dial(
        &permitted,
        port,
        Duration::from_secs(1),
        &Outgoing::default(),
    )
    .await
    .unwrap();
    assert_eq!(dialled.remote.ip(), LOOPBACK);
}

#[tokio::test]
async fn a_refused_port_is_refused_at_once_and_leaves_nothing() {
    let (listener, port) = listen(LOOPBACK).await;
    drop(listener);
    let outgoing = Outgoing::default();
    let failure = dial_any(&[LOOPBACK], port, Duration::from_mins(1), &outgoing)
        .await
        .unwrap_err();
    let refusal = Refusal::from(failure);
    assert_eq!(refusal.reason, Reason::ConnectionRefused);
    let expected = format!("127.0.0.1:{port}: Connection refused (os error 111)");
    assert_eq!(refusal.detail.as_deref(), Some(expected.as_str()));
    assert_eq!(sockets_towards(port), 0);
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let hole = BlackHole::new(LOOPBACK, 0);
    for addresses in [&[LOOPBACK][..], &[LOOPBACK, LOOPBACK]] {
        let begin = std::time::Instant::now();
        let outgoing = Outgoing::default();
        let failure = dial_any(addresses, hole.port, Duration::from_millis(300), &outgoing)
            .await
            .unwrap_err();
        assert!(begin.elapsed() < Duration::from_millis(900));
        assert_eq!(Refusal::from(failure).reason, Reason::ConnectionTimeout);
    }
}

#[tokio::test]
async fn a_silent_family_costs_one_attempt_delay() {
    let (_listener, port) = listen(LOOPBACK).await;
    let _hole = BlackHole::new(LOOPBACK_V6, port);
    let begin = std::time::Instant::now();
    let both = [LOOPBACK, LOOPBACK_V6];
    let dialled = dial_any(&both, port, Duration::from_secs(10), &Outgoing::default())
        .await
        .unwrap();
    assert_eq!(dialled.remote.ip(), LOOPBACK);
    let elapsed = begin.elapsed();
    assert!(
        elapsed >= Duration::from_millis(250) && elapsed < Duration::from_secs(1),
        "{elapsed:?}"
    );
}

#[tokio::test]
async fn a_refusing_family_costs_nothing() {
    let (_listener, port) = listen(LOOPBACK).await;
    let both = [LOOPBACK_V6, LOOPBACK];
    let outgoing = Outgoing::default();
    let dial = dial_any(&both, port, Duration::from_secs(10), &outgoing);
    let dialled = timeout(Duration::from_millis(200), dial)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(dialled.remote.ip(), LOOPBACK);
}

#[tokio::test]
async fn a_dropped_dial_frees_sockets_and_registrations() {
    let hole = BlackHole::new(LOOPBACK, 0);
    let before = sockets_towards(hole.port);
    let outgoing = Outgoing::default();
    {
        let mut dial = pin!(dial_any(
            &[LOOPBACK, LOOPBACK],
            hole.port,
            Duration::from_mins(1),
            &outgoing
        ));
        poll_fn(|context| {
            assert!(dial.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
        assert_eq!(sockets_towards(hole.port), before + 1);
        assert_eq!(outgoing.len(), 1);
    }
    assert_eq!(sockets_towards(hole.port), before);
    assert_eq!(outgoing.len(), 0);
}

#[tokio::test]
async fn the_losers_of_a_race_are_let_go() {
    let (_listener, port) = listen(LOOPBACK).await;
    let _hole = BlackHole::new(LOOPBACK_V6, port);
    let outgoing = Outgoing::default();
    let both = [LOOPBACK, LOOPBACK_V6];
    let dialled = dial_any(&both, port, Duration::from_secs(10), &outgoing)
        .await
        .unwrap();
    assert_eq!(outgoing.len(), 1);
    drop(dialled);
    assert_eq!(outgoing.len(), 0);
}

#[tokio::test]
async fn a_timeout_beyond_the_clock_is_no_panic() {
    let (_listener, port) = listen(LOOPBACK).await;
    let dialled = dial_any(&[LOOPBACK], port, Duration::MAX, &Outgoing::default()).await;
    assert!(dialled.is_ok());
}

#[test]
fn the_most_telling_attempt_gives_the_reason() {
    use Errno as E;
    for (errors, expected) in [
        (&[E::CONNREFUSED][..], Reason::ConnectionRefused),
        (&[E::CONNRESET], Reason::ConnectionRefused),
        (&[E::TIMEDOUT], Reason::ConnectionTimeout),
        (&[E::NETUNREACH], Reason::Unreachable),
        (&[E::HOSTUNREACH], Reason::Unreachable),
        (&[E::ACCESS], Reason::Unreachable),
        (&[E::PERM], Reason::Unreachable),
        (&[E::ADDRNOTAVAIL], Reason::Unreachable),
        (&[E::INVAL], Reason::Unreachable),
        (&[E::MFILE], Reason::AtCapacity),
        (&[E::NFILE], Reason::AtCapacity),
        (&[E::NOMEM], Reason::AtCapacity),
        (&[E::NETUNREACH, E::CONNREFUSED], Reason::ConnectionRefused),
        (&[E::TIMEDOUT, E::CONNREFUSED], Reason::ConnectionRefused),
        (&[E::NETUNREACH, E::TIMEDOUT], Reason::ConnectionTimeout),
        (&[E::CONNREFUSED, E::MFILE], Reason::AtCapacity),
    ] {
        let remote = SocketAddr::new(LOOPBACK, 443);
        let attempts = errors.iter().map(|&errno| (remote, errno.into())).collect();
        assert_eq!(DialError { attempts }.reason(), expected, "{errors:?}");
    }
}

#[test]
fn the_detail_lists_every_attempt() {
    let failure = DialError {
        attempts: vec![
            (
                "[2001:db8::1]:443".parse().unwrap(),
                Errno::NETUNREACH.into(),
            ),
            (
                "192.0.2.1:443".parse().unwrap(),
                io::ErrorKind::TimedOut.into(),
            ),
        ],
    };
    assert_eq!(
        failure.to_string(),
        "[2001:db8::1]:443: Network is unreachable (os error 101); 192.0.2.1:443: timed out"
    );
}

//! Checks that the limits are exact, and that nothing is kept of clients that are gone.

use std::time::Duration;

use super::*;

fn limits() -> Limits {
    Limits {
        connections: 8,
        connections_per_client: 3,
        tunnels: 4,
        tunnels_per_client: 2,
        inventory_reserve: 25,
        rate_per_client: Rate {
            count: 5,
            per: Duration::from_secs(1),
        },
        request_head: 16 * 1024,
    }
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn unlisted(last: u8) -> Claim {
    Claim {
        source: address(last),
        listed: false,
        tunnels: None,
    }
}

#[test]
fn the_limit_is_exact_per_client_and_in_all() {
    let (limiter, limits) = (Limiter::default(), limits());
    let mut held: Vec<_> = (0..3)
        .map(|_| limiter.connection(Some(address(1)), &limits).unwrap())
        .collect();
    let full = limiter.connection(Some(address(1)), &limits).unwrap_err();
    assert_eq!(full, LimitReached::ConnectionsPerClient);
    for client in [2, 2, 2, 3, 3] {
        held.push(limiter.connection(Some(address(client)), &limits).unwrap());
    }
    assert_eq!(
        limiter.connection(Some(address(4)), &limits).unwrap_err(),
        LimitReached::Connections
    );
    held.clear();
    assert!(limiter.connection(Some(address(1)), &limits).is_ok());
    assert!(
        limiter.lock().clients.is_empty(),
        "nothing is kept of who is gone"
    );
}

#[test]
fn a_connection_may_become_a_clients_later() {
    let (limiter, limits) = (Limiter::default(), limits());
    let connect = || limiter.connection(None, &limits);
    let mut held: Vec<_> = (0..8).map(|_| connect().unwrap()).collect();
    assert_eq!(connect().unwrap_err(), LimitReached::Connections);
    for slot in &mut held[..3] {
        slot.belongs_to(address(1), &limits).unwrap();
    }
    let full = held[3].belongs_to(address(1), &limits).unwrap_err();
    assert_eq!(full, LimitReached::ConnectionsPerClient);
    held[3].belongs_to(address(2), &limits).unwrap();
    held.remove(0);
    held[4].belongs_to(address(1), &limits).unwrap();
    held.clear();
    assert!(limiter.lock().clients.is_empty());
    assert_eq!(limiter.lock().connections, 0);
}

#[test]
fn the_reserve_is_the_inventorys() {
    let (limiter, limits) = (Limiter::default(), limits());
    let _held: Vec<_> = (1..=3)
        .map(|c| limiter.tunnel(unlisted(c), &limits, true).unwrap())
        .collect();
    assert_eq!(
        limiter.tunnel(unlisted(4), &limits, true).unwrap_err(),
        LimitReached::Reserved
    );
    let listed = Claim {
        listed: true,
        ..unlisted(4)
    };
    let slot = limiter.tunnel(listed, &limits, true).unwrap();
    let listed = Claim {
        listed: true,
        ..unlisted(5)
    };
    assert_eq!(
        limiter.tunnel(listed, &limits, true).unwrap_err(),
        LimitReached::Tunnels
    );
    drop(slot);
    assert!(
        limiter.tunnel(unlisted(4), &limits, false).is_ok(),
        "no inventory, no reserve"
    );
}

#[test]
fn a_clients_own_limit_replaces_the_general_one() {
    let (limiter, limits) = (Limiter::default(), limits());
    let own = Claim {
        tunnels: Some(1),
        ..unlisted(1)
    };
    let _slot = limiter.tunnel(own, &limits, false).unwrap();
    assert_eq!(
        limiter.tunnel(own, &limits, false).unwrap_err(),
        LimitReached::TunnelsPerClient
    );
}

#[test]
fn a_slash_64_is_one_client() {
    let (limiter, limits) = (Limiter::default(), limits());
    let _held: Vec<_> = ["2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::1"]
        .map(|a| limiter.connection(a.parse().ok(), &limits).unwrap())
        .into();
    assert!(
        limiter
            .connection("2001:db8::3".parse().ok(), &limits)
            .is_err()
    );
    assert!(
        limiter
            .connection("2001:db8:0:1::1".parse().ok(), &limits)
            .is_ok()
    );
    assert_eq!(
        LimitKey::of("::ffff:10.0.0.1".parse().unwrap()),
        LimitKey::of(address(1))
    );
}

#[test]
fn a_burst_is_twice_the_rate_then_the_rate_holds() {
    let limiter = Limiter::default();
    let rate = limits().rate_per_client;
    let start = Instant::now();
    let granted = |at: u64, tries: u32| {
        let now = start + Duration::from_millis(at);
        (0..tries)
            .filter(|_| limiter.request(address(1), rate, now))
            .count()
    };
    assert_eq!(granted(0, 50), 10);
    assert_eq!(granted(100, 50), 0, "half a token");
    assert_eq!(granted(1000, 50), 5);
    assert_eq!(granted(60_000, 50), 10);
}

#[test]
fn clients_at_rest_are_swept_out() {
    let limiter = Limiter::default();
    let rate = limits().rate_per_client;
    let start = Instant::now();
    for n in 0..100_000_u32 {
        let now = start + Duration::from_millis(u64::from(n));
        let _ = limiter.request(IpAddr::from(n.to_be_bytes()), rate, now);
    }
    assert!(limiter.lock().clients.len() <= 2 * SWEEP_FROM);
}

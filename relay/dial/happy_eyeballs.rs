//! Happy Eyeballs, version 2 (RFC 8305): several addresses are tried, and the first that connects
//! wins. So a dead address family costs a quarter of a second, not the whole timeout.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// Puts the addresses in the order of attempts: the families in turn, IPv6 first (section 4, First
/// Address Family Count 1). Within a family the order is the resolver's.
///
/// An answer may hold thousands of addresses. Only the first [`MAX_ATTEMPTS`] are tried.
pub(super) fn interleave(addresses: &[IpAddr], port: u16) -> Vec<SocketAddr> {
    let mut ipv6 = addresses.iter().filter(|address| address.is_ipv6());
    let mut ipv4 = addresses.iter().filter(|address| address.is_ipv4());
    let mut ordered = Vec::with_capacity(addresses.len().min(MAX_ATTEMPTS));
    while ordered.len() < MAX_ATTEMPTS {
        let before = ordered.len();
        ordered.extend(ipv6.next());
        ordered.extend(ipv4.next());
        if ordered.len() == before {
            break;
        }
    }
    ordered.truncate(MAX_ATTEMPTS);
    ordered
        .into_iter()
        .map(|&address| SocketAddr::new(address, port))
        .collect()
}

/// Starts an attempt at each candidate, and gives the first that succeeds; the others are dropped.
///
/// An attempt starts one Connection Attempt Delay after the one before, or as soon as that one
/// failed. At the deadline the attempts under way count as timed out.
pub(super) async fn race<T, F>(
    candidates: &[SocketAddr],
    deadline: Instant,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<T, Vec<(SocketAddr, io::Error)>>
where
    F: Future<Output = io::Result<T>>,
{
    // One address needs no race, so this saves the allocations.
    if let [only] = *candidates {
        let outcome = timeout_at(deadline, connect(only)).await;
        return outcome
            .unwrap_or_else(|_| Err(timed_out()))
            .map_err(|error| vec![(only, error)]);
    }
    let mut waiting = candidates.iter().copied();
    let mut attempts = Vec::new();
    let mut failed = Vec::new();
    loop {
        if let Some(remote) = waiting.next() {
            attempts.push((remote, Box::pin(connect(remote))));
        } else if attempts.is_empty() {
            return Err(failed);
        }
        let wake = match waiting.len() {
            0 => deadline,
            _ => deadline.min(Instant::now() + CONNECTION_ATTEMPT_DELAY),
        };
        match timeout_at(wake, first_done(&mut attempts)).await {
            Ok((_, Ok(connected))) => return Ok(connected),
            Ok((remote, Err(error))) => failed.push((remote, error)),
            // The delay is over, so the next attempt starts beside those under way.
            Err(_) if Instant::now() < deadline => {}
            Err(_) => {
                failed.extend(attempts.iter().map(|&(remote, _)| (remote, timed_out())));
                return Err(failed);
            }
        }
    }
}

/// Waits for any of the attempts and takes it out. There are few, so each is polled on every
/// wake-up.
async fn first_done<F: Future>(
    attempts: &mut Vec<(SocketAddr, Pin<Box<F>>)>,
) -> (SocketAddr, F::Output) {
    std::future::poll_fn(|context| {
        for (index, (remote, attempt)) in attempts.iter_mut().enumerate() {
            if let Poll::Ready(output) = attempt.as_mut().poll(context) {
                let remote = *remote;
                drop(attempts.remove(index));
                return Poll::Ready((remote, output));
            }
        }
        Poll::Pending
    })
    .await
}

fn timed_out() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

/// The recommendation of section 5.
const CONNECTION_ATTEMPT_DELAY: Duration = Duration::from_millis(250);
const MAX_ATTEMPTS: usize = 16;

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use proptest::prelude::*;
    use tokio::time::sleep;

    use super::*;

    fn addresses(text: &str) -> Vec<IpAddr> {
        text.split_whitespace()
            .map(|address| address.parse().unwrap())
            .collect()
    }

    #[test]
    fn families_take_turns() {
        for (given, expected) in [
            ("", ""),
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1 2001:db8::1", "2001:db8::1 192.0.2.1"),
            ("192.0.2.2 192.0.2.1", "192.0.2.2 192.0.2.1"),
            (
                "192.0.2.1 192.0.2.2 192.0.2.3 2001:db8::2 2001:db8::1",
                "2001:db8::2 192.0.2.1 2001:db8::1 192.0.2.2 192.0.2.3",
            ),
            (
                "2001:db8::1 2001:db8::2 192.0.2.1",
                "2001:db8::1 192.0.2.1 2001:db8::2",
            ),
        ] {
            let ordered: Vec<_> = interleave(&addresses(given), 443)
                .iter()
                .map(SocketAddr::ip)
                .collect();
            assert_eq!(ordered, addresses(expected), "{given}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_up_to_the_bound(given: Vec<IpAddr>) {
            let ordered = interleave(&given, 1);
            prop_assert_eq!(ordered.len(), given.len().min(MAX_ATTEMPTS));
            for candidate in &ordered {
                prop_assert!(given.contains(&candidate.ip()));
            }
        }
    }

    /// What an attempt does: it succeeds or fails after some milliseconds, or never ends.
    #[derive(Clone, Copy)]
    enum Peer {
        Answers(u64),
        Refuses(u64),
        Silent,
    }

    /// Runs a race on the paused clock. Gives the outcome, its time, and when each attempt began
    /// (all in ms).
    async fn run(peers: &[Peer], timeout: u64) -> (Result<u16, Vec<u16>>, u128, Vec<u128>) {
        let begin = Instant::now();
        let started = RefCell::new(Vec::new());
        let candidates: Vec<_> = (0..peers.len())
            .map(|port| SocketAddr::from(([192, 0, 2, 1], u16::try_from(port).unwrap())))
            .collect();
        let outcome = race(
            &candidates,
            begin + Duration::from_millis(timeout),
            |remote| {
                started.borrow_mut().push(begin.elapsed().as_millis());
                let peer = peers[usize::from(remote.port())];
                async move {
                    match peer {
                        Peer::Answers(after) => sleep(Duration::from_millis(after)).await,
                        Peer::Refuses(after) => {
                            sleep(Duration::from_millis(after)).await;
                            return Err(io::ErrorKind::ConnectionRefused.into());
                        }
                        Peer::Silent => std::future::pending().await,
                    }
                    Ok(remote.port())
                }
            },
        )
        .await
        .map_err(|errors| errors.iter().map(|(remote, _)| remote.port()).collect());
        (outcome, begin.elapsed().as_millis(), started.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_keep_their_distance_and_the_first_to_connect_wins() {
        use Peer::{Answers, Refuses, Silent};
        type Case = (
            &'static [Peer],
            Result<u16, Vec<u16>>,
            u128,
            &'static [u128],
        );
        let cases: &[Case] = &[
            (&[Answers(10)], Ok(0), 10, &[0]),
            (&[Refuses(10)], Err(vec![0]), 10, &[0]),
            (&[Silent], Err(vec![0]), 1000, &[0]),
            // The second attempt doesn't even begin.
            (&[Answers(249), Answers(0)], Ok(0), 249, &[0]),
            (&[Silent, Answers(10)], Ok(1), 260, &[0, 250]),
            // A slow first attempt may still win.
            (&[Answers(300), Answers(200)], Ok(0), 300, &[0, 250]),
            (&[Refuses(10), Answers(10)], Ok(1), 20, &[0, 10]),
            // A failure starts the next attempt at once, and the delay anew.
            (
                &[Silent, Refuses(50), Silent, Answers(5)],
                Ok(3),
                555,
                &[0, 250, 300, 550],
            ),
            (
                &[Refuses(1), Refuses(1), Refuses(1)],
                Err(vec![0, 1, 2]),
                3,
                &[0, 1, 2],
            ),
            (
                &[Silent, Refuses(1), Silent],
                Err(vec![1, 0, 2]),
                1000,
                &[0, 250, 251],
            ),
            // The deadline holds while there are candidates left.
            (
                &[Silent; 9],
                Err(vec![0, 1, 2, 3]),
                1000,
                &[0, 250, 500, 750],
            ),
            (&[], Err(vec![]), 0, &[]),
        ];
        for (number, (peers, outcome, end, started)) in cases.iter().enumerate() {
            let result = run(peers, 1000).await;
            assert_eq!(
                result,
                (outcome.clone(), *end, started.to_vec()),
                "case {number}"
            );
        }
    }
}

//! Says in words what a handshake means, and the chain in it.

use std::io;

use jiff::Timestamp;
use rustls::pki_types::UnixTime;
use rustls::{CertificateError, Error};

use super::certificate::Presented;
use super::finding::Finding;
use super::roots::Trust;
use super::target::ProbeTarget;
use super::text::in_full;
use crate::authority::DnsName;

/// Tells what a chain is worth that leads to a root.
pub(super) fn trusted(
    trust: Trust,
    seen: &str,
    presented: &Presented,
    host: &DnsName,
    now: Timestamp,
) -> Finding {
    let Presented { issuer, not_after } = presented;
    let days = not_after.map(|end| (end - now.as_second()).div_euclid(SECONDS_A_DAY));
    let left = match days {
        Some(days) => format!("{days} days left"),
        None => "no readable end".to_owned(),
    };
    match trust {
        Trust::Public if days.is_some_and(|days| days < SOON) => Finding::warn(
            format!("{seen}, publicly trusted (issuer {issuer}), {left}"),
            "the server's certificate is due to be renewed",
            "check again in a day or two; if it stays, tell who runs the server",
        ),
        Trust::Public => Finding::ok(format!(
            "{seen}, publicly trusted (issuer {issuer}), {left}"
        )),
        Trust::Local => Finding::warn(
            format!("{seen}, inspected by a locally trusted CA: {issuer}, {left}"),
            "only this machine's own roots make the chain valid, the public ones don't: a device on the way answers in the \
             server's name, or the server has a certificate of a private or very new CA",
            format!(
                "exempt {host} from TLS inspection: a client that doesn't trust {issuer} will refuse this certificate"
            ),
        ),
    }
}

/// Tells why a chain was refused.
pub(super) fn untrusted(error: &Error, presented: &Presented, target: &ProbeTarget) -> Finding {
    use CertificateError as E;
    let issuer = &presented.issuer;
    let host = &target.host;
    let look = format!(
        "look at it with `openssl s_client -connect {host}:{} -servername {host} -showcerts`",
        target.port
    );
    let fail = |seen: String, cause: &str, next: String| Finding::fail(seen, cause, next);
    let Error::InvalidCertificate(error) = error else {
        return fail(
            format!("the certificate can't be judged: {error} (issuer {issuer})"),
            "what was presented is no proper chain of certificates",
            look,
        );
    };
    let now = Timestamp::now();
    match error {
        E::UnknownIssuer => fail(
            format!(
                "not publicly trusted: interception or a private CA, compare the issuer {issuer}"
            ),
            "neither the public roots nor this machine's lead to that issuer; a server that leaves out an intermediate \
             certificate looks the same",
            format!(
                "find out whose {issuer} is; if a firewall of yours inspects TLS, exempt {host}"
            ),
        ),
        E::Expired | E::ExpiredContext { .. } => {
            let when = match error {
                E::ExpiredContext { not_after, .. } => format!(" on {}", date(*not_after)),
                _ => String::new(),
            };
            fail(
                format!("a certificate of the chain expired{when} (issuer {issuer})"),
                &format!("it wasn't renewed, or this machine's clock is wrong: it says {now:.0}"),
                format!("compare the clock first; else tell who runs {host}"),
            )
        }
        E::NotValidYet | E::NotValidYetContext { .. } => {
            let when = match error {
                E::NotValidYetContext { not_before, .. } => {
                    format!(" before {}", date(*not_before))
                }
                _ => " yet".to_owned(),
            };
            fail(
                format!("a certificate of the chain isn't valid{when} (issuer {issuer})"),
                &format!("most likely this machine's clock is wrong: it says {now:.0}"),
                "set the clock (`timedatectl`, `chronyc tracking`), then check again".to_owned(),
            )
        }
        E::NotValidForName | E::NotValidForNameContext { .. } => fail(
            match error {
                E::NotValidForNameContext { presented, .. } => {
                    format!(
                        "the certificate is for {}, not for {host} (issuer {issuer})",
                        names(presented)
                    )
                }
                _ => format!("the certificate isn't for {host} (issuer {issuer})"),
            },
            "another server answers at this address: a captive portal, a proxy, or an address that isn't the vendor's",
            format!(
                "compare the address in the lines above with what {host} resolves to elsewhere"
            ),
        ),
        error => fail(
            format!("the certificate isn't valid: {error} (issuer {issuer})"),
            "the server, or a device that answers in its name, has a certificate that clients refuse",
            look,
        ),
    }
}

/// Tells why a handshake ended before a certificate was presented, or after a good one.
pub(super) fn broken_off(error: &io::Error, host: &DnsName) -> Finding {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    let seen = format!("the handshake broke off: {}", in_full(error));
    match tls {
        Some(Error::AlertReceived(_)) => Finding::fail(
            seen,
            "the server, or a device before it, refuses this server name or what the client offers (TLS 1.2 and 1.3)",
            format!("let {host} pass TLS and SNI filters on the way; else ask who runs the server"),
        ),
        Some(Error::InvalidMessage(_) | Error::InappropriateMessage { .. }) => Finding::fail(
            seen,
            "what answers doesn't speak TLS: a proxy or a captive portal, or a service of another kind on this port",
            "find out what answers at the address in the lines above".to_owned(),
        ),
        _ => unanswered(&seen, host),
    }
}

/// Tells of a ClientHello without an answer.
pub(super) fn unanswered(seen: &str, host: &DnsName) -> Finding {
    Finding::fail(
        seen,
        "the connection was let through and the ClientHello wasn't: a firewall that filters by server name (SNI) or \
         application, or a server in trouble",
        format!(
            "allow TLS with the server name {host} on the firewall, not only the address and port"
        ),
    )
}

fn date(time: UnixTime) -> String {
    i64::try_from(time.as_secs())
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .map_or_else(|| "a date out of range".to_owned(), |time| time.to_string())
}

/// Lists the first names of a certificate, because it may have a hundred.
fn names(presented: &[String]) -> String {
    if presented.is_empty() {
        return "no name at all".to_owned();
    }
    let more = if presented.len() > MAX_NAMES {
        " and others"
    } else {
        ""
    };
    let first: Vec<_> = presented
        .iter()
        .take(MAX_NAMES)
        .map(|name| bare(name))
        .collect();
    format!("{}{more}", first.join(", "))
}

/// Takes the name out of the form that rustls gives, which is `DnsName("a.example")`.
fn bare(name: &str) -> &str {
    name.split('"').nth(1).unwrap_or(name)
}

const MAX_NAMES: usize = 4;
const SECONDS_A_DAY: i64 = 24 * 60 * 60;
/// In days. A certificate with automatic renewal is renewed earlier than this before its end.
const SOON: i64 = 7;

#[cfg(test)]
mod tests {
    use super::super::finding::HopStatus;
    use super::*;

    #[test]
    fn a_certificate_about_to_end_is_a_warning() {
        let host: DnsName = "billing.example".parse().unwrap();
        let now = Timestamp::from_second(1_000_000).unwrap();
        for (left, status, text) in [
            (
                8 * SECONDS_A_DAY,
                HopStatus::Ok,
                "publicly trusted (issuer CA), 8 days left",
            ),
            (7 * SECONDS_A_DAY - 1, HopStatus::Warn, "6 days left"),
            (1, HopStatus::Warn, "0 days left"),
        ] {
            let presented = Presented {
                issuer: "CA".to_owned(),
                not_after: Some(1_000_000 + left),
            };
            let finding = trusted(Trust::Public, "TLS", &presented, &host, now);
            assert_eq!(finding.status, status, "{left}");
            assert!(finding.seen.contains(text), "{}", finding.seen);
        }
    }

    #[test]
    fn only_a_few_names_of_a_certificate_are_shown() {
        let names_of = |count| {
            let all: Vec<_> = (0..count)
                .map(|at| format!("DnsName(\"{at}.example\")"))
                .collect();
            names(&all)
        };
        assert_eq!(names_of(0), "no name at all");
        assert_eq!(names_of(2), "0.example, 1.example");
        assert!(names_of(100).ends_with("3.example and others"));
    }
}

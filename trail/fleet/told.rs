//! What one record tells of the machine that it is about.

use std::net::IpAddr;

use super::cause::is_failure;
use super::facts::{Attempt, AttemptEnd};
use crate::inventory::{ExpectedClient, ListedDestination};
use crate::record::Record;
use crate::words::{ABANDONED, Decision, Event, Upload};

/// What a record tells of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Upload,
    /// A try at a billing destination that counts, without an upload.
    Try(Attempt),
    /// A request that was denied and may have been such a try.
    PerhapsTry(Attempt),
    /// It went to the billing destination of another version.
    OtherVersion,
    /// Only report-only let it through to a name of the vendor's.
    ReportOnly,
    /// A tunnel, in a trail that doesn't tell what an upload is.
    Tunnel,
    /// A tunnel that may have been an upload, because its end wasn't recorded.
    Lost,
    Nothing,
}

/// Finds what the last record of a session tells.
pub(super) fn told(record: &Record, destinations: Option<&[ListedDestination]>) -> Told {
    let Some(client) = &record.client else {
        return Told::Nothing;
    };
    if record.upload == Some(Upload::Probable) {
        return Told::Upload;
    }
    let may_count = record.billing == Some(true) || record.upload.is_some();
    let is_cut = record.closed_by.as_deref() == Some("shutdown");
    if record.event == Event::TunnelLost || is_cut {
        return if may_count { Told::Lost } else { Told::Nothing };
    }
    let reason = match &record.reason {
        None if !record.had_tunnel() => Some(ABANDONED),
        reason => reason.as_deref(),
    };
    let is_denied = match record.decision {
        Some(decision) => decision == Decision::Deny,
        None => !reason.is_some_and(is_failure),
    };
    let sni = record.tls.as_ref().and_then(|tls| tls.sni.as_deref());
    let host = record.target.host.as_deref().or(sni);
    let attempt = Attempt {
        end: match record.upload {
            _ if is_denied => AttemptEnd::Denied,
            Some(Upload::Distrusted) => AttemptEnd::Distrusted,
            Some(Upload::Small) => AttemptEnd::Small,
            Some(Upload::Unanswered) => AttemptEnd::Unanswered,
            Some(Upload::Probable) | None => AttemptEnd::Failed,
        },
        reason: reason.map(str::to_owned),
        host: host.map(str::to_owned),
        destination: record.destination.as_deref().map(str::to_owned),
        address: client.address,
        claimed: client.name.is_none() && client.claimed.is_some(),
    };
    if may_count {
        return Told::Try(attempt);
    }
    match (record.billing, destinations) {
        (Some(_), Some(destinations)) => {
            let name = record.destination.as_deref();
            if named(destinations, name).is_some_and(is_billing) {
                Told::OtherVersion
            } else {
                Told::Nothing
            }
        }
        _ if is_denied && host.is_some_and(is_vendors) => Told::PerhapsTry(attempt),
        _ if is_denied && host.is_none() && reason.is_some_and(is_before_target) => {
            Told::PerhapsTry(attempt)
        }
        _ if !is_denied && record.enforced == Some(false) && host.is_some_and(is_vendors) => {
            Told::ReportOnly
        }
        (None, None) if !is_denied && record.had_tunnel() && record.bytes_down > 0 => Told::Tunnel,
        _ => Told::Nothing,
    }
}

/// Finds what refusals that were counted together tell, one entry for each pair of destination and
/// reason.
pub(super) fn told_together(
    destination: Option<&str>,
    reason: &str,
    host: Option<&str>,
    address: IpAddr,
    client: Option<&ExpectedClient>,
    destinations: &[ListedDestination],
) -> Told {
    let attempt = Attempt {
        end: if is_failure(reason) {
            AttemptEnd::Failed
        } else {
            AttemptEnd::Denied
        },
        reason: Some(reason.to_owned()),
        host: host.map(str::to_owned),
        destination: destination.map(str::to_owned),
        address,
        claimed: false,
    };
    match named(destinations, destination) {
        Some(listed) if is_billing(listed) => {
            let version = client.and_then(|client| client.version.as_deref());
            if counts_for(listed, version) {
                Told::Try(attempt)
            } else {
                Told::OtherVersion
            }
        }
        None if attempt.end != AttemptEnd::Denied => Told::Nothing,
        None if host.is_some_and(is_vendors) => Told::PerhapsTry(attempt),
        None if host.is_none() && is_before_target(reason) => Told::PerhapsTry(attempt),
        Some(_) | None => Told::Nothing,
    }
}

fn named<'a>(
    destinations: &'a [ListedDestination],
    name: Option<&str>,
) -> Option<&'a ListedDestination> {
    let name = name?;
    destinations.iter().find(|listed| &*listed.name == name)
}

/// Whether a destination has this host.
pub(super) fn is_listed(destinations: &[ListedDestination], host: &str) -> bool {
    let mut hosts = destinations.iter().flat_map(|listed| &listed.hosts);
    hosts.any(|pattern| match pattern.strip_prefix('*') {
        Some(end) => host.ends_with(end),
        None => host == &**pattern,
    })
}

fn is_billing(destination: &ListedDestination) -> bool {
    &*destination.purpose == "billing"
}

/// Whether an upload to a billing destination counts for a version. An unknown version, and a range
/// of another form than `>=9` and `<9`, count.
fn counts_for(destination: &ListedDestination, version: Option<&str>) -> bool {
    let numbers = |text: &str| -> Option<Vec<u32>> {
        let parts = text.trim().split('.');
        let mut numbers = parts
            .map(|part| part.parse().ok())
            .collect::<Option<Vec<u32>>>()?;
        while numbers.last() == Some(&0) {
            numbers.pop();
        }
        Some(numbers)
    };
    let Some((range, version)) = destination
        .versions
        .as_deref()
        .zip(version.and_then(numbers))
    else {
        return true;
    };
    if let Some(from) = range.strip_prefix(">=") {
        return numbers(from).is_none_or(|from| version >= from);
    }
    match range.strip_prefix('<') {
        Some(to) => numbers(to).is_none_or(|to| version < to),
        None => true,
    }
}

/// Whether a name is under a domain of the vendor's.
fn is_vendors(host: &str) -> bool {
    VENDOR.iter().any(|domain| {
        host.strip_suffix(domain)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

/// Whether this reason turns a machine away before it can name a target. A health check leaves
/// other reasons, such as a head that never came.
fn is_before_target(reason: &str) -> bool {
    BEFORE_TARGET.contains(&reason)
}

const VENDOR: &[&str] = &["zerto.com"];

const BEFORE_TARGET: &[&str] = &[
    "certificate_expired",
    "certificate_missing",
    "certificate_untrusted",
    "client_not_allowed",
    "rate_limited",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let counts = |range: Option<&str>, version| {
            let destination = ListedDestination {
                name: "d".into(),
                hosts: Vec::new(),
                purpose: "billing".into(),
                versions: range.map(|range| range.to_owned().into()),
                upload_min_bytes: 1024,
            };
            counts_for(&destination, version)
        };
        for (range, version, expected) in [
            (Some(">=9"), Some("9.7"), true),
            (Some(">=9"), Some("10.0"), true),
            (Some(">=9"), Some("9.0"), true),
            (Some(">=9"), Some("8.5.4"), false),
            (Some("<9"), Some("8.5.4"), true),
            (Some("<9"), Some("9"), false),
            (Some("<9"), None, true),
            (None, Some("9"), true),
            (Some("other"), Some("9"), true),
        ] {
            assert_eq!(counts(range, version), expected, "{range:?} {version:?}");
        }
    }

    #[test]
    fn a_name_is_the_vendors_by_whole_labels() {
        assert!(is_vendors("zerto.com") && is_vendors("ch4.zerto.com"));
        assert!(!is_vendors("notzerto.com") && !is_vendors("zerto.com.example"));
    }
}

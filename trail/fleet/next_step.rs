//! What to do about a cause, in words.

use super::cause::{Cause, NoTry};
use super::facts::{AttemptEnd, Tries};
use crate::words::ABANDONED;

impl Cause {
    /// What to do next, in words. Empty if there is nothing to do.
    pub fn next_step(&self) -> String {
        match self {
            // A trail without an inventory needs a newer relay, whatever machines come there.
            Self::Well | Self::Exempt | Self::NoInventory { .. } => String::new(),
            Self::Removed { .. } => {
                "nothing, unless it was removed by mistake: then list it again".to_owned()
            }
            Self::RelaySilent { relay, .. } => format!(
                "look at {relay} first: does it run (`callhome-relay health`), and is this its present trail?"
            ),
            Self::RelayAhead { relay, .. } => {
                format!("set the clock of {relay} right, and see that the relay runs")
            }
            Self::Unread { .. } => {
                "ask the machine itself; raise `max_size` or `keep`, or read the trail more often"
                    .to_owned()
            }
            Self::Refused { tries } | Self::PerhapsRefused { tries } => refused_step(tries),
            Self::Failing { tries } => failing_step(tries),
            Self::OtherVersion { .. } => {
                "compare `version` of its [[client]] with what is installed".to_owned()
            }
            Self::ReportOnly { contact } => format!(
                "add {} to a [[destination]] with purpose = \"billing\", before report-only ends",
                contact.host.as_deref().unwrap_or("the host")
            ),
            Self::NoTry(NoTry {
                last: Some(tries), ..
            }) => format!(
                "is the machine up, and does it still use the relay? The try before: {}",
                match tries.attempt.end {
                    AttemptEnd::Denied => refused_step(tries),
                    _ => failing_step(tries),
                }
            ),
            Self::NoTry(_) => "is the machine up, does it use the relay (`callhome-relay zvm setup --relay HOST:PORT`), and does a firewall let it reach the relay?".to_owned(),
        }
    }
}

fn refused_step(tries: &Tries) -> String {
    let attempt = &tries.attempt;
    let explain = || match &attempt.host {
        Some(host) => format!(
            "`callhome-relay explain --from {} --to {host}:443` says which rule decides",
            attempt.address
        ),
        None => format!(
            "`callhome-relay audit tail --decision deny` has what {} sent",
            attempt.address
        ),
    };
    match attempt.reason.as_deref() {
        Some("certificate_expired") => "renew the certificate of the machine".to_owned(),
        Some("certificate_missing" | "certificate_untrusted") => {
            "give the machine a certificate that `client_ca` has signed".to_owned()
        }
        Some("client_not_allowed") => format!(
            "does the machine come from a new address, or to the wrong listener? If {} is its address, add it to `sources`",
            attempt.address
        ),
        Some("rate_limited") => {
            "it asks too often: look for what failed before, or raise `rate` of its [[client]]"
                .to_owned()
        }
        Some("sni_mismatch" | "sni_missing" | "not_tls") => {
            "something between the machine and the relay changes its TLS, or it isn't the vendor's client"
                .to_owned()
        }
        _ => explain(),
    }
}

fn failing_step(tries: &Tries) -> String {
    let attempt = &tries.attempt;
    match attempt.end {
        AttemptEnd::Distrusted => {
            "it doesn't trust the certificate that it gets: does something on the way out inspect TLS (`callhome-relay check`), or does the machine lack a root certificate?".to_owned()
        }
        AttemptEnd::Small => {
            "is it a test by hand? Else look at the machine's log: it gives up before it sends".to_owned()
        }
        AttemptEnd::Unanswered => {
            "does a firewall on the way out let the answers through? `callhome-relay check` walks the way".to_owned()
        }
        AttemptEnd::Failed | AttemptEnd::Denied => match attempt.reason.as_deref() {
            Some("dns_failed" | "dns_timeout") => {
                "the relay can't resolve the name: `callhome-relay check` asks its name servers".to_owned()
            }
            Some("at_capacity" | "audit_unavailable" | "draining" | "internal") => {
                "the relay itself couldn't serve it: `callhome-relay health`, and its log".to_owned()
            }
            Some(ABANDONED) => {
                "the machine leaves before its tunnel carries anything: look at its log".to_owned()
            }
            _ => "`callhome-relay check` walks the way to the destination, hop by hop".to_owned(),
        },
    }
}

//! Lists the steps of the demo, and what each must lead to.

use std::net::Ipv4Addr;

use serde_json::Value;

use super::machines::{Attempt, Machine, Saw};
use crate::proxy_error::Reason;

/// Pairs one machine's attempt with what it must lead to.
pub(super) struct DemoStep {
    pub(super) machine: Machine,
    pub(super) attempt: Attempt,
    pub(super) expected: Expected,
}

/// Says what a step must lead to, at the machine and in the trail.
#[derive(Clone, Copy)]
pub(super) enum Expected {
    /// The upload arrives byte for byte.
    Arrival,
    /// The CONNECT gets an answer other than 200.
    Refusal(Reason),
    /// The open tunnel ends, with the reason's TLS alert if it has one.
    Cut(Reason),
}

/// Gives the steps that the demo plays, against a server on this port.
pub(super) fn steps(port: u16) -> Vec<DemoStep> {
    let ordinary = || Attempt {
        host: HOST,
        port,
        server_name: Some(HOST),
        size: 1 << 20,
    };
    let step = |machine, attempt, expected| DemoStep {
        machine,
        attempt,
        expected,
    };
    vec![
        step(
            ZVM,
            Attempt {
                size: 8 << 20,
                ..ordinary()
            },
            Expected::Arrival,
        ),
        step(ZCA, ordinary(), Expected::Arrival),
        step(
            UNLISTED,
            ordinary(),
            Expected::Refusal(Reason::ClientNotAllowed),
        ),
        step(
            ZVM,
            Attempt {
                host: OTHER_HOST,
                port: 443,
                server_name: Some(OTHER_HOST),
                ..ordinary()
            },
            Expected::Refusal(Reason::DestinationNotAllowed),
        ),
        step(
            ZVM,
            Attempt {
                port: 22,
                ..ordinary()
            },
            Expected::Refusal(Reason::PortNotAllowed),
        ),
        step(
            ZVM,
            Attempt {
                server_name: Some(OTHER_HOST),
                ..ordinary()
            },
            Expected::Cut(Reason::SniMismatch),
        ),
        step(
            ZVM,
            Attempt {
                server_name: None,
                ..ordinary()
            },
            Expected::Cut(Reason::NotTls),
        ),
    ]
}

impl Expected {
    /// Tells whether both the machine and the trail agree with it. Then they agree with each other
    /// too.
    pub(super) fn met(self, step: &DemoStep, saw: &Saw, record: &Value) -> bool {
        let (seen, reason) = match (self, saw) {
            (Self::Arrival, Saw::Answer { sent, received }) => (sent == received, None),
            (Self::Refusal(reason), Saw::Refusal { status, phrase }) => (
                *status == reason.status() && phrase == reason.token(),
                Some(reason),
            ),
            (Self::Cut(reason), Saw::Alert { number }) => (
                reason.alert().is_some_and(|alert| alert as u8 == *number),
                Some(reason),
            ),
            (Self::Cut(reason), Saw::Close) => (reason.alert().is_none(), Some(reason)),
            _ => return false,
        };
        let name = (step.machine.address != UNLISTED.address).then_some(step.machine.name);
        let recorded = match self {
            Self::Arrival => {
                record["decision"] == "allow"
                    && record["outcome"] == "closed"
                    && record["tls"]["sni"] == HOST
                    && record["bytes_up"].as_u64() > u64::try_from(step.attempt.size).ok()
            }
            Self::Refusal(_) | Self::Cut(_) => {
                record["decision"] == "deny" && record["outcome"] == "refused"
            }
        };
        seen && recorded
            && record["reason"].as_str() == reason.map(Reason::token)
            && record["client"]["name"].as_str() == name
            && record["target"]["raw"] == format!("{}:{}", step.attempt.host, step.attempt.port)
    }
}

pub(super) const ZVM: Machine = Machine {
    name: "zvm-demo",
    address: Ipv4Addr::new(127, 0, 0, 11),
};
pub(super) const ZCA: Machine = Machine {
    name: "zca-demo",
    address: Ipv4Addr::new(127, 0, 0, 12),
};
pub(super) const UNLISTED: Machine = Machine {
    name: "unlisted",
    address: Ipv4Addr::new(127, 0, 0, 13),
};
/// The preset's billing host of Zerto 9.
pub(super) const HOST: &str = "ch3.zerto.com";
/// A name on no list. RFC 2606 reserves its domain, so it exists nowhere.
const OTHER_HOST: &str = "other.example";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_arrival_needs_equal_digests_and_a_trail_that_allowed_it() {
        let step = &steps(4433)[0];
        let saw = |received: &str| Saw::Answer {
            sent: "aa".into(),
            received: received.into(),
        };
        let record = json!({
            "client": {"name": "zvm-demo"}, "target": {"raw": "ch3.zerto.com:4433"}, "decision": "allow", "reason": null,
            "outcome": "closed", "tls": {"sni": "ch3.zerto.com"}, "bytes_up": (8 << 20) + 1,
        });
        assert!(step.expected.met(step, &saw("aa"), &record));
        assert!(!step.expected.met(step, &saw("bb"), &record));
        for (member, other) in [
            ("client", json!({"name": "zca-demo"})),
            ("target", json!({"raw": "other.example:4433"})),
            ("decision", json!("deny")),
            ("reason", json!("not_tls")),
            ("outcome", json!("abandoned")),
            ("tls", json!(null)),
            ("bytes_up", json!(8 << 20)),
            ("bytes_up", json!(null)),
        ] {
            let mut wrong = record.clone();
            wrong[member] = other;
            assert!(!step.expected.met(step, &saw("aa"), &wrong), "{member}");
        }
    }

    #[test]
    fn a_refusal_needs_its_status_its_words_and_a_trail_that_denied_it() {
        let step = &steps(4433)[2];
        let saw = |status, phrase: &str| Saw::Refusal {
            status,
            phrase: phrase.into(),
        };
        let record = json!({
            "client": {"name": null}, "target": {"raw": "ch3.zerto.com:4433"}, "decision": "deny",
            "reason": "client_not_allowed", "outcome": "refused",
        });
        let met = |saw: &Saw, record: &Value| step.expected.met(step, saw, record);
        assert!(met(&saw(403, "client_not_allowed"), &record));
        assert!(!met(&saw(502, "client_not_allowed"), &record));
        assert!(!met(&saw(403, "port_not_allowed"), &record));
        assert!(!met(&saw(403, "client_not_allowed"), &Value::Null));
        assert!(!met(&Saw::Close, &record));
        assert!(!met(&Saw::Alert { number: 49 }, &record));
        for (member, other) in [("reason", "port_not_allowed"), ("decision", "allow")] {
            let mut wrong = record.clone();
            wrong[member] = other.into();
            assert!(!met(&saw(403, "client_not_allowed"), &wrong), "{member}");
        }
    }

    #[test]
    fn a_cut_is_by_the_alert_of_its_reason_or_by_none() {
        let steps = steps(4433);
        let (named, plain) = (&steps[5], &steps[6]);
        let record = |reason: &str| {
            json!({
                "client": {"name": "zvm-demo"}, "target": {"raw": "ch3.zerto.com:4433"}, "decision": "deny",
                "reason": reason, "outcome": "refused",
            })
        };
        let met =
            |step: &DemoStep, saw: Saw, reason| step.expected.met(step, &saw, &record(reason));
        assert!(met(named, Saw::Alert { number: 112 }, "sni_mismatch"));
        assert!(!met(named, Saw::Alert { number: 80 }, "sni_mismatch"));
        assert!(!met(named, Saw::Close, "sni_mismatch"));
        assert!(met(plain, Saw::Close, "not_tls"));
        assert!(!met(plain, Saw::Alert { number: 112 }, "not_tls"));
    }
}

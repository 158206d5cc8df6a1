//! Collects the findings of one walk, which is the way to one host.

use serde::Serialize;

use super::finding::{Finding, Hop, HopOutcome, HopStatus};

/// Tells how the way to one host of a destination is, hop by hop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Walk {
    /// The destination's name.
    pub name: String,
    pub host: Option<String>,
    pub port: Option<u16>,
    /// Why the destination has no host to walk to.
    pub not_walked: Option<&'static str>,
    pub hops: Vec<HopFinding>,
}

/// Pairs a hop with what it showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HopFinding {
    pub hop: Hop,
    #[serde(flatten)]
    pub finding: Finding,
}

impl Walk {
    /// Begins the walk to a host. No hop is done yet.
    pub(super) fn to(name: &str, host: &str, port: u16) -> Self {
        Self {
            name: name.to_owned(),
            host: Some(host.to_owned()),
            port: Some(port),
            not_walked: None,
            hops: Vec::new(),
        }
    }

    /// Makes the entry of a destination that has no host to walk to.
    pub(super) fn not_walked(name: &str, because: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            host: None,
            port: None,
            not_walked: Some(because),
            hops: Vec::new(),
        }
    }

    /// Adds what a hop showed, and gives what the next hop needs. After a failure that is none.
    pub(super) fn add<T>(&mut self, hop: Hop, outcome: HopOutcome<T>) -> Option<T> {
        let (value, finding) = match outcome {
            Ok((value, finding)) => (Some(value), finding),
            Err(finding) => (None, finding),
        };
        self.hops.push(HopFinding { hop, finding });
        value
    }

    /// Adds the remaining hops as skipped. The walk didn't reach them, or the server lacks them.
    pub(super) fn skip_rest(&mut self, because: &str) {
        for &hop in Hop::ALL.iter().skip(self.hops.len()) {
            let finding = Finding::skipped(because);
            self.hops.push(HopFinding { hop, finding });
        }
    }

    /// Gives the status of the worst hop. For a walk without hops it is `Skipped`.
    pub fn worst(&self) -> HopStatus {
        let statuses = self.hops.iter().map(|step| step.finding.status);
        statuses.max().unwrap_or(HopStatus::Skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_after_a_failure_are_skipped() {
        let mut walk = Walk::to("billing", "billing.example", 443);
        let there = walk.add(Hop::Name, Ok((1, Finding::ok("there"))));
        assert_eq!(there, Some(1));
        let gone: Option<u8> = walk.add(Hop::Ranges, Err(Finding::fail("gone", "why", "what")));
        assert_eq!(gone, None);
        walk.skip_rest("not reached");
        assert_eq!(walk.worst(), HopStatus::Fail);
        let hops: Vec<_> = walk
            .hops
            .iter()
            .map(|it| (it.hop, it.finding.status))
            .collect();
        assert_eq!(
            hops,
            [
                (Hop::Name, HopStatus::Ok),
                (Hop::Ranges, HopStatus::Fail),
                (Hop::Tcp, HopStatus::Skipped),
                (Hop::Tls, HopStatus::Skipped),
                (Hop::Http, HopStatus::Skipped),
                (Hop::Clock, HopStatus::Skipped),
            ]
        );
    }
}

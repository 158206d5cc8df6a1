//! The rules of the file, from its destinations, clients and policy.

use std::ops::Range;

use callhome_settings::{Findings, Problem};
use jiff::Timestamp;

use super::clients::clients;
use super::destinations::destinations;
use super::places::RulePlaces;
use super::report_only;
use crate::config::file::File;
use crate::policy::{Client, Policy, RuleError, Rules, Subject, Unlisted};

/// The places of all rules, in the order in which the policy gets them.
struct RuleSources {
    destinations: Vec<RulePlaces>,
    clients: Vec<RulePlaces>,
    /// The place where the file chooses the preset, if it does.
    preset: Option<Range<usize>>,
}

/// Returns the policy, or nothing after a problem. `tunnels` is the general limit of clients.
pub(in crate::config) fn policy(
    file: &File,
    tunnels: u32,
    now: Timestamp,
    findings: &mut Findings,
) -> Option<Policy> {
    let before = findings.problem_count();
    let (destinations, destination_places) = destinations(file, findings);
    let (clients, client_places) = clients(file, &destinations, tunnels, findings);
    let unlisted = match &file.clients.unlisted {
        Some(unlisted) => unlisted.value.into(),
        None if file.client.is_empty() => Unlisted::Private,
        None => Unlisted::Deny,
    };
    if unlisted == Unlisted::Any {
        findings.warn("unlisted = \"any\": every address on the network may use this relay");
    }
    let rules = Rules {
        destinations,
        clients,
        unlisted,
        mode: report_only::mode(&file.policy, now, findings),
        nat64_prefixes: findings
            .read_all(file.dns.nat64_prefixes.as_ref())
            .into_iter()
            .map(|prefix| prefix.0)
            .collect(),
    };
    if findings.problem_count() > before {
        return None;
    }
    let sources = RuleSources {
        destinations: destination_places,
        clients: client_places,
        preset: file.preset.as_ref().map(|preset| preset.span.clone()),
    };
    match Policy::new(rules) {
        Ok(policy) => {
            warn_of_uncounted(&policy, findings);
            Some(policy)
        }
        Err(error) => {
            findings.problem(sources.locate(&error, file));
            None
        }
    }
}

/// Warns of clients that call home and have no place where that counts. They would be reported as
/// silent, however well they upload.
fn warn_of_uncounted(policy: &Policy, findings: &mut Findings) {
    let counts = |client: &Client| policy.billing_destinations(client).next().is_some();
    let uncounted: Vec<&str> = policy
        .clients()
        .iter()
        .filter(|client| client.calls_home && !counts(client))
        .filter_map(|client| client.name.as_deref())
        .collect();
    if !uncounted.is_empty() {
        findings.warn(format!(
            "no destination counts as billing for {}: add one for their version that they may reach, \
             or set calls_home = false",
            uncounted.join(", ")
        ));
    }
}

impl RuleSources {
    /// Turns an error of the policy into a problem at the place of the value that it quotes.
    fn locate(&self, error: &RuleError, file: &File) -> Problem {
        let span = match error.subject {
            // A destination of the preset has no place and can only clash with what the file adds.
            // The report then shows where the file chooses the preset.
            Subject::Destination(at) => self
                .destinations
                .get(at)
                .and_then(|places| places.find(&error.message))
                .or_else(|| self.preset.clone()),
            Subject::Client(at) => self
                .clients
                .get(at)
                .and_then(|places| places.find(&error.message)),
            Subject::Policy => file.dns.nat64_prefixes.as_ref().map(|it| it.span.clone()),
        };
        // The policy words its messages as "what is wrong: how to mend it".
        match error.message.split_once(": ") {
            Some((title, help)) => Problem::new(span, title).help(help),
            None => Problem::new(span, &*error.message),
        }
    }
}

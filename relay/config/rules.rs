//! The part of the file that says who may reach what.

use std::ops::Range;

use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};

use super::check::{Bound, Findings};
use super::error::Problem;
use super::file::{self, File, PolicyMode, Preset};
use super::names::Name;
use super::preset;
use super::value::At;
use crate::policy::{
    Client, ClientLimits, Destination, Mode, Origin, Policy, Purpose, Role, RuleError, Rules,
    SniRule, Subject, Unlisted,
};

/// Rules, and where each of them stands in the file, for what the policy finds wrong with them.
struct Sources {
    destinations: Vec<Option<Range<usize>>>,
    clients: Vec<Range<usize>>,
    /// Where the file chooses the preset, if it does.
    preset: Option<Range<usize>>,
}

impl Findings {
    /// None after a problem.
    pub(super) fn policy(&mut self, file: &File, tunnels: u32, now: Timestamp) -> Option<Policy> {
        let before = self.problems.len();
        let (destinations, destination_spans) = self.destinations(file);
        let (clients, client_spans) = self.clients(file, tunnels);
        let unlisted = match &file.clients.unlisted {
            Some(unlisted) => unlisted.value.into(),
            None if file.client.is_empty() => Unlisted::Private,
            None => Unlisted::Deny,
        };
        if unlisted == Unlisted::Any {
            self.warn("unlisted = \"any\": every address on the network may use this relay");
        }
        let rules = Rules {
            destinations,
            clients,
            unlisted,
            mode: self.mode(&file.policy, now),
            nat64_prefixes: self
                .read_all(file.dns.nat64_prefixes.as_ref())
                .into_iter()
                .map(|prefix| prefix.0)
                .collect(),
        };
        if self.problems.len() > before {
            return None;
        }
        let sources = Sources {
            destinations: destination_spans,
            clients: client_spans,
            preset: file.preset.as_ref().map(|preset| preset.span.clone()),
        };
        match Policy::new(rules) {
            Ok(policy) => Some(policy),
            Err(error) => {
                self.problem(sources.locate(&error, file));
                None
            }
        }
    }

    /// The preset's destinations, then the site's, which replace those of the same name.
    fn destinations(&mut self, file: &File) -> (Vec<Destination>, Vec<Option<Range<usize>>>) {
        let ranges = self.read_some("zerto_v9_ip_ranges", file.zerto_v9_ip_ranges.as_ref());
        let mut destinations = self.preset(file, ranges.as_deref());
        self.unique("destination", file.destination.iter().map(|it| &it.name));
        let mut spans = vec![None; destinations.len()];
        for written in &file.destination {
            let Some(destination) = self.destination(written) else {
                continue;
            };
            let replaced = destinations
                .iter()
                .position(|other| other.origin != Origin::Site && other.name == destination.name);
            if let Some(replaced) = replaced {
                let guarded = destinations.remove(replaced);
                spans.remove(replaced);
                if guarded.ip_ranges.is_some() && destination.ip_ranges.is_none() {
                    self.warn(format!(
                        "the site's destination {} replaces the preset's and drops zerto_v9_ip_ranges: \
                         it needs ip_ranges of its own",
                        destination.name
                    ));
                }
            }
            destinations.push(destination);
            spans.push(Some(written.name.span.clone()));
        }
        if destinations
            .iter()
            .all(|it| it.hosts.is_empty() && it.ip_ranges.is_none())
        {
            self.warn("the allowlist is empty: every request will be refused");
        }
        (destinations, spans)
    }

    fn preset(&mut self, file: &File, ranges: Option<&[IpNet]>) -> Vec<Destination> {
        let groups = preset_groups(file);
        if preset_of(file) == Preset::None && file.preset_groups.is_some() {
            self.warn("preset_groups has no effect with preset = \"none\"");
        }
        let destinations = match preset::destinations(&groups, ranges) {
            Ok(destinations) => destinations,
            Err(message) => {
                let title = format!("the list in this binary is damaged: {message}");
                self.problem(Problem::new(None, title));
                Vec::new()
            }
        };
        if ranges.is_some() && !destinations.iter().any(|it| it.ip_ranges.is_some()) {
            self.warn(format!(
                "zerto_v9_ip_ranges guards nothing: the preset's {} is not in use",
                preset::GUARDED
            ));
        }
        destinations
    }

    fn destination(&mut self, written: &file::Destination) -> Option<Destination> {
        let name = self.read(&written.name);
        if written.hosts.is_none() && written.ip_ranges.is_none() {
            self.problem(
                Problem::new(
                    written.name.span.clone(),
                    "the destination has neither `hosts` nor `ip_ranges`",
                )
                .help("add the names of its hosts; `hosts = []` matches none"),
            );
        }
        let sni = written
            .sni
            .as_ref()
            .map_or(SniRule::Match, |it| it.value.into());
        if let Some(tls_only) = &written.tls_only
            && !tls_only.value
            && sni != SniRule::Any
        {
            let mut problem = Problem::new(
                tls_only.span.clone(),
                "`tls_only = false` leaves no ClientHello whose name could be checked",
            )
            .help("add `sni = \"any\"`");
            if let Some(sni) = &written.sni {
                problem = problem.also(sni.span.clone(), "asks for the check");
            }
            self.problem(problem);
        }
        let ports = match &written.ports {
            Some(ports) => {
                self.refuse_empty("ports", ports, "remove the key for port 443");
                ports.value.iter().map(|port| port.value.get()).collect()
            }
            None => vec![443],
        };
        let hosts = self.read_all(written.hosts.as_ref());
        let ip_ranges = self.read_some("ip_ranges", written.ip_ranges.as_ref());
        let addresses = self.read_some("addresses", written.addresses.as_ref());
        let versions = written.versions.as_ref().and_then(|it| self.read(it));
        Some(Destination {
            name: name?.0,
            hosts,
            ports,
            ip_ranges,
            addresses,
            purpose: written
                .purpose
                .as_ref()
                .map_or(Purpose::Other, |it| it.value.into()),
            versions,
            sni,
            literals_without_sni: written.literals_without_sni.unwrap_or(false),
            tls_only: written.tls_only.as_ref().is_none_or(|it| it.value),
            origin: Origin::Site,
        })
    }

    fn clients(&mut self, file: &File, tunnels: u32) -> (Vec<Client>, Vec<Range<usize>>) {
        self.unique("client", file.client.iter().map(|it| &it.name));
        let mut clients = Vec::new();
        let mut spans = Vec::new();
        for written in &file.client {
            let name = self.read(&written.name);
            let span = if let Some(sources) = &written.sources {
                let help = "name an address or a network, or remove the client";
                self.refuse_empty("sources", sources, help);
                &sources.span
            } else {
                self.problem(
                    Problem::new(written.name.span.clone(), "the client has no `sources`")
                        .help("add the addresses it connects from: sources = [\"10.20.0.11\"]"),
                );
                &written.name.span
            };
            let sources = self.read_all(written.sources.as_ref());
            let version = written.version.as_ref().and_then(|it| self.read(it));
            let destinations = written
                .destinations
                .as_ref()
                .map(|list| self.read_all(Some(list)));
            let limits = ClientLimits {
                tunnels: written.limits.tunnels.as_ref().map(|it| it.value.get()),
                rate: written.limits.rate.as_ref().and_then(|it| self.read(it)),
            };
            if let Some(own) = &written.limits.tunnels {
                self.at_most(
                    &Bound::count("tunnels", Some(own), 0),
                    &Bound::count("tunnels of [limits]", file.limits.tunnels.as_ref(), tunnels),
                );
            }
            let Some(Name(name)) = name else {
                continue;
            };
            clients.push(Client {
                name: Some(name),
                role: written
                    .role
                    .as_ref()
                    .map_or(Role::Other, |it| it.value.into()),
                version,
                sources,
                destinations,
                limits,
            });
            spans.push(span.clone());
        }
        (clients, spans)
    }

    fn mode(&mut self, file: &file::Policy, now: Timestamp) -> Mode {
        let mode = file
            .mode
            .as_ref()
            .filter(|mode| mode.value == PolicyMode::ReportOnly);
        let until = file
            .report_only_until
            .as_ref()
            .and_then(|until| self.timestamp(until));
        let Some(mode) = mode else {
            if until.is_some() {
                self.warn("report_only_until has no effect with mode = \"enforce\"");
            }
            return Mode::Enforce;
        };
        let Some(written) = &file.report_only_until else {
            self.problem(
                Problem::new(mode.span.clone(), "report-only needs an end")
                    .help("add report_only_until = <date-time>, at most 30 days ahead"),
            );
            return Mode::Enforce;
        };
        let Some(until) = until else {
            return Mode::Enforce;
        };
        if until <= now {
            // A file that was fine yesterday must not keep the relay from starting today.
            self.warn(format!(
                "report-only ended on {until}: the policy is enforced"
            ));
            return Mode::Enforce;
        }
        if until.duration_since(now) > LONGEST_REPORT_ONLY {
            self.problem(
                Problem::new(written.span.clone(), "report-only lasts at most 30 days")
                    .label("further ahead than that")
                    .help("write an earlier date-time, and a new one when it is over"),
            );
        }
        self.warn(format!(
            "report-only until {until}: names on no list are let through"
        ));
        Mode::ReportOnly { until }
    }

    fn timestamp(&mut self, written: &At<file::DateTime>) -> Option<Timestamp> {
        let parsed = written.value.0.to_string().parse::<Timestamp>();
        if let Err(error) = &parsed {
            let complete = written.value.0.offset.is_some();
            let problem = Problem::new(
                written.span.clone(),
                "a date, a time and an offset are needed",
            )
            .help("write 2026-12-01T08:00:00Z, or +01:00 for Z");
            self.problem(if complete {
                problem.label(error.to_string())
            } else {
                problem
            });
        }
        parsed.ok()
    }
}

impl Sources {
    fn locate(&self, error: &RuleError, file: &File) -> Problem {
        let span = match error.subject {
            // One of the preset's can only clash with what the file adds; then the file's choice of the preset is the place.
            Subject::Destination(at) => self
                .destinations
                .get(at)
                .cloned()
                .flatten()
                .or_else(|| self.preset.clone()),
            Subject::Client(at) => self.clients.get(at).cloned(),
            Subject::Policy => file.dns.nat64_prefixes.as_ref().map(|it| it.span.clone()),
        };
        // The policy words its messages as "what is wrong: how to mend it".
        match error.message.split_once(": ") {
            Some((title, help)) => Problem::new(span, title).help(help),
            None => Problem::new(span, &*error.message),
        }
    }
}

/// The groups in use: none without a preset.
pub(super) fn preset_groups(file: &File) -> Vec<file::Group> {
    match (&file.preset_groups, preset_of(file)) {
        (_, Preset::None) => Vec::new(),
        (Some(groups), Preset::Zerto) => groups.value.iter().map(|group| group.value).collect(),
        (None, Preset::Zerto) => preset::DEFAULT_GROUPS.to_vec(),
    }
}

pub(super) fn preset_of(file: &File) -> Preset {
    file.preset
        .as_ref()
        .map_or(Preset::Zerto, |preset| preset.value)
}

const LONGEST_REPORT_ONLY: SignedDuration = SignedDuration::from_hours(30 * 24);

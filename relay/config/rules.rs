//! The part of the file that says who may reach what.

use std::fmt::Display;
use std::ops::Range;

use ipnet::IpNet;
use jiff::Timestamp;

use super::bound::Bound;
use super::check::Findings;
use super::error::Problem;
use super::file::{self, File, Preset};
use super::names::Name;
use super::preset;
use super::value::{Form, List};
use crate::policy::{
    Client, ClientLimits, Destination, NamePattern, Origin, Policy, Purpose, Role, RuleError,
    Rules, SniRule, Subject, Unlisted,
};
use crate::server::ListenerOptions;

/// Rules, and where each of them stands in the file, for what the policy finds wrong with them.
struct Sources {
    /// Nothing for one of the preset's.
    destinations: Vec<Vec<Place>>,
    clients: Vec<Vec<Place>>,
    /// Where the file chooses the preset, if it does.
    preset: Option<Range<usize>>,
}

/// A value of an entry as the policy's messages quote it, and where it stands. The empty one is for the entry itself.
type Place = (String, Range<usize>);

impl Findings {
    /// None after a problem.
    pub(super) fn policy(&mut self, file: &File, tunnels: u32, now: Timestamp) -> Option<Policy> {
        let before = self.problems.len();
        let (destinations, destination_spans) = self.destinations(file);
        let (clients, client_spans) = self.clients(file, &destinations, tunnels);
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
    fn destinations(&mut self, file: &File) -> (Vec<Destination>, Vec<Vec<Place>>) {
        let ranges = self.read_some(
            "zerto_v9_ip_ranges",
            file.zerto_v9_ip_ranges.as_ref(),
            "remove the key: the v9 host is then allowed at any globally reachable address",
        );
        let mut destinations = self.preset(file, ranges.as_deref());
        self.unique("destination", file.destination.iter().map(|it| &it.name));
        let mut places = vec![Vec::new(); destinations.len()];
        for written in &file.destination {
            let Some(destination) = self.destination(written) else {
                continue;
            };
            let replaced = destinations
                .iter()
                .position(|other| other.origin != Origin::Site && other.name == destination.name);
            if let Some(replaced) = replaced {
                let guarded = destinations.remove(replaced);
                places.remove(replaced);
                if guarded.ip_ranges.is_some() && destination.ip_ranges.is_none() {
                    self.warn(format!(
                        "the site's destination {} replaces the preset's and drops zerto_v9_ip_ranges: \
                         it needs ip_ranges of its own",
                        destination.name
                    ));
                }
            }
            destinations.push(destination);
            let mut of_this = vec![(String::new(), written.name.span.clone())];
            of_this.extend(places_of(written.hosts.as_ref()));
            of_this.extend(places_of(written.ip_ranges.as_ref()));
            of_this.extend(places_of(written.addresses.as_ref()));
            places.push(of_this);
        }
        if destinations
            .iter()
            .all(|it| it.hosts.is_empty() && it.ip_ranges.is_none())
        {
            self.warn("the allowlist is empty: every request will be refused");
        }
        (destinations, places)
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
        let ip_ranges = self.read_some(
            "ip_ranges",
            written.ip_ranges.as_ref(),
            "remove the key only if every globally reachable address is meant",
        );
        let addresses = self.read_some(
            "addresses",
            written.addresses.as_ref(),
            "remove the key to ask DNS",
        );
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

    fn clients(
        &mut self,
        file: &File,
        known: &[Destination],
        tunnels: u32,
    ) -> (Vec<Client>, Vec<Vec<Place>>) {
        self.unique("client", file.client.iter().map(|it| &it.name));
        let mut clients = Vec::new();
        let mut places = Vec::new();
        for written in &file.client {
            let name = self.read(&written.name);
            match &written.sources {
                Some(sources) => {
                    let help = "name an address or a network, or remove the client";
                    self.refuse_empty("sources", sources, help);
                }
                None if written.certificate_names.is_some() => {}
                None => self.problem(
                    Problem::new(
                        written.name.span.clone(),
                        "the client has neither `sources` nor `certificate_names`",
                    )
                    .help("add the addresses it connects from: sources = [\"10.20.0.11\"]"),
                ),
            }
            let sources = self.read_all(written.sources.as_ref());
            if let Some(names) = &written.certificate_names {
                self.refuse_empty(
                    "certificate_names",
                    names,
                    "remove the key for a client that is known by its sources",
                );
            }
            let certificate_names = self.read_all(written.certificate_names.as_ref());
            let version = written.version.as_ref().and_then(|it| self.read(it));
            let destinations = written
                .destinations
                .as_ref()
                .map(|list| self.patterns(list, known));
            let limits = ClientLimits {
                tunnels: written.limits.tunnels.as_ref().map(|it| it.value.get()),
                rate: written.limits.rate.as_ref().and_then(|it| self.read(it)),
            };
            if let Some(own) = &written.limits.tunnels {
                self.at_most(
                    &Bound::count("tunnels", Some(own), 0),
                    &Bound::count("limits.tunnels", file.limits.tunnels.as_ref(), tunnels),
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
                certificate_names,
                destinations,
                limits,
            });
            let mut of_this = vec![(String::new(), written.name.span.clone())];
            of_this.extend(places_of(written.sources.as_ref()));
            of_this.extend(places_of(written.certificate_names.as_ref()));
            places.push(of_this);
        }
        (clients, places)
    }

    /// Certificates that nobody can show, or that no client has.
    pub(super) fn certificates(&mut self, file: &File, listeners: &[ListenerOptions]) {
        let asks = |listener: &&ListenerOptions| {
            listener
                .tls
                .as_ref()
                .is_some_and(|tls| tls.client_ca.is_some())
        };
        let named = |client: &&file::Client| client.certificate_names.is_some();
        let (asking, known) = (listeners.iter().find(asks), file.client.iter().find(named));
        match (asking, known) {
            (None, Some(client)) => self.warn(format!(
                "the client {} is known by its certificate, and no listener has a client_ca: it will be refused everywhere",
                client.name.value.text
            )),
            (Some(listener), None) => self.warn(format!(
                "no client has certificate_names: everyone will be refused on the listener {}",
                listener.name
            )),
            _ => {}
        }
    }

    /// A pattern that is no destination's name is a misspelt one, or one that was forgotten when the destination went.
    fn patterns(&mut self, written: &List<NamePattern>, known: &[Destination]) -> Vec<NamePattern> {
        let mut patterns = Vec::new();
        for text in &written.value {
            let Some(pattern) = self.read(text) else {
                continue;
            };
            if !known.iter().any(|it| pattern.matches(&it.name)) {
                let names: Vec<&str> = known.iter().map(|it| &*it.name).collect();
                self.problem(
                    Problem::new(
                        text.span.clone(),
                        format!("`{pattern}` is the name of no destination"),
                    )
                    .help(format!("the destinations are: {}", names.join(", "))),
                );
            }
            patterns.push(pattern);
        }
        patterns
    }
}

impl Sources {
    fn locate(&self, error: &RuleError, file: &File) -> Problem {
        let span = match error.subject {
            // One of the preset's can only clash with what the file adds; then the file's choice of the preset is the place.
            Subject::Destination(at) => {
                quoted(self.destinations.get(at), &error.message).or_else(|| self.preset.clone())
            }
            Subject::Client(at) => quoted(self.clients.get(at), &error.message),
            Subject::Policy => file.dns.nat64_prefixes.as_ref().map(|it| it.span.clone()),
        };
        // The policy words its messages as "what is wrong: how to mend it".
        match error.message.split_once(": ") {
            Some((title, help)) => Problem::new(span, title).help(help),
            None => Problem::new(span, &*error.message),
        }
    }
}

fn places_of<F: Form + Display>(list: Option<&List<F>>) -> impl Iterator<Item = Place> {
    list.into_iter()
        .flat_map(|list| &list.value)
        .filter_map(|text| {
            let value = F::read(&text.value.text).ok()?;
            Some((value.to_string(), text.span.clone()))
        })
}

/// The place that a message is about: that of the longest value it quotes.
fn quoted(places: Option<&Vec<Place>>, message: &str) -> Option<Range<usize>> {
    places?
        .iter()
        .filter(|(value, _)| message.contains(value.as_str()))
        .max_by_key(|(value, _)| value.len())
        .map(|(_, span)| span.clone())
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

//! `[[client]]`: the inventory.

use std::collections::HashMap;

use callhome_settings::{Bound, Findings, List, Name, Problem, Timeout};

use super::places::RulePlaces;
use crate::config::file::{ClientTable, File};
use crate::policy::{Client, ClientLimits, Destination, NamePattern, Role};
use crate::server::ListenerOptions;

/// Returns the clients with their places in the file. `tunnels` is the general limit in force.
pub(super) fn clients(
    file: &File,
    known: &[Destination],
    tunnels: u32,
    findings: &mut Findings,
) -> (Vec<Client>, Vec<RulePlaces>) {
    findings.unique("client", file.client.iter().map(|it| &it.name));
    former_names(file, findings);
    let mut clients = Vec::new();
    let mut places = Vec::new();
    for written in &file.client {
        let name = findings.read(&written.name);
        match &written.sources {
            Some(sources) => {
                let help = "name an address or a network, or remove the client";
                findings.refuse_empty("sources", sources, help);
            }
            None if written.certificate_names.is_some() => {}
            None => findings.problem(
                Problem::new(
                    written.name.span.clone(),
                    "the client has neither `sources` nor `certificate_names`",
                )
                .help("add the addresses it connects from: sources = [\"10.20.0.11\"]"),
            ),
        }
        let sources = findings.read_all(written.sources.as_ref());
        if let Some(names) = &written.certificate_names {
            findings.refuse_empty(
                "certificate_names",
                names,
                "remove the key for a client that is known by its sources",
            );
        }
        let certificate_names = findings.read_all(written.certificate_names.as_ref());
        let version = written.version.as_ref().and_then(|it| findings.read(it));
        let expect_every = written.expect_every.as_ref();
        let expect_every = expect_every.and_then(|it| findings.read(it));
        let role = written.role.as_ref().map(|it| it.value.into());
        let destinations = written
            .destinations
            .as_ref()
            .map(|list| patterns(list, known, findings));
        let limits = ClientLimits {
            tunnels: written.limits.tunnels.as_ref().map(|it| it.value.get()),
            rate: written
                .limits
                .rate
                .as_ref()
                .and_then(|it| findings.read(it)),
        };
        if let Some(own) = &written.limits.tunnels {
            let general = Bound::count("limits.tunnels", file.limits.tunnels.as_ref(), tunnels);
            Bound::count("tunnels", Some(own), own.value.get()).at_most(&general, findings);
        }
        let Some(Name(name)) = name else {
            continue;
        };
        clients.push(Client {
            name: Some(name),
            formerly: findings
                .read_all(written.formerly.as_ref())
                .into_iter()
                .map(|Name(name)| name)
                .collect(),
            role,
            version,
            expect_every: expect_every.map(|Timeout(every)| every),
            calls_home: written
                .calls_home
                .unwrap_or_else(|| Role::calls_home(role, version)),
            sources,
            certificate_names,
            destinations,
            limits,
        });
        places.push(
            RulePlaces::of_rule(&written.name.span)
                .with(written.sources.as_ref())
                .with(written.certificate_names.as_ref()),
        );
    }
    (clients, places)
}

/// Reports a former name that is also a name of another client, or of two clients' past.
///
/// The history under that name could go on under one of them only.
fn former_names(file: &File, findings: &mut Findings) {
    let mut taken: HashMap<&str, &ClientTable> = HashMap::new();
    for client in &file.client {
        taken.insert(&client.name.value.text, client);
    }
    for client in &file.client {
        for former in client.formerly.iter().flat_map(|list| &list.value) {
            if let Some(other) = taken.insert(&former.value.text, client) {
                let title = format!("`{}` is a name of one client only", former.value.text);
                let help = "remove it here: its history can't go on in two places";
                findings.problem(
                    Problem::new(former.span.clone(), title)
                        .also(other.name.span.clone(), "this client has it")
                        .help(help),
                );
            }
        }
    }
}

/// Warns of clients whose certificates no listener asks for, and of listeners that ask for
/// certificates which no client has.
pub(in crate::config) fn certificates(
    file: &File,
    listeners: &[ListenerOptions],
    findings: &mut Findings,
) {
    let asks = |listener: &&ListenerOptions| {
        listener
            .tls
            .as_ref()
            .is_some_and(|tls| tls.client_ca.is_some())
    };
    let named = |client: &&ClientTable| client.certificate_names.is_some();
    let (asking, known) = (listeners.iter().find(asks), file.client.iter().find(named));
    match (asking, known) {
        (None, Some(client)) => findings.warn(format!(
            "the client {} is known by its certificate, and no listener has a client_ca: it will be refused everywhere",
            client.name.value.text
        )),
        (Some(listener), None) => findings.warn(format!(
            "no client has certificate_names: everyone will be refused on the listener {}",
            listener.name
        )),
        _ => {}
    }
}

/// Reads the names of destinations that a client may use.
///
/// A pattern that matches no destination is a problem: it is misspelt, or was forgotten when the
/// destination was removed.
fn patterns(
    written: &List<NamePattern>,
    known: &[Destination],
    findings: &mut Findings,
) -> Vec<NamePattern> {
    let mut patterns = Vec::new();
    for text in &written.value {
        let Some(pattern) = findings.read(text) else {
            continue;
        };
        if !known.iter().any(|it| pattern.matches(&it.name)) {
            let names: Vec<&str> = known.iter().map(|it| &*it.name).collect();
            findings.problem(
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

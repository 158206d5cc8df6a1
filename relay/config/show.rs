//! The effective configuration, written as a file that means the same.

use std::fmt::Write as _;
use std::num::{NonZeroU16, NonZeroU32};

use serde::Serialize;

use super::Config;
use super::file::{self, File};
use super::names::Name;
use super::net::{HostName, Nameserver, Nat64Prefix};
use super::units::{Percent, Size, Timeout};
use super::value::{At, Form, List, Text};
use crate::policy::{Client, Destination, Mode, Origin};

pub(super) fn show(config: &Config) -> String {
    let mut out = toml_of(&mirror(config));
    for destination in config.policy.destinations() {
        if let Origin::Preset { confirmed, source } = &destination.origin {
            let confirmed = if *confirmed {
                "confirmed by the vendor"
            } else {
                "not confirmed by the vendor"
            };
            let _ = write!(out, "\n# From the preset, {confirmed}: {source}");
        }
        out += "\n";
        out += &toml_of(&Destinations {
            destination: [mirror_destination(destination)],
        });
    }
    out
}

#[derive(Serialize)]
struct Destinations {
    destination: [file::Destination; 1],
}

fn mirror(config: &Config) -> File {
    let policy = &config.policy;
    let listener = |it: &crate::server::ListenerOptions| file::Listener {
        name: name(&it.name),
        mode: Some(At::nowhere(file::ListenerMode::Proxy)),
        bind: Text::of(&it.bind),
    };
    File {
        name: Some(name(&config.name)),
        // The preset's destinations are spelled out.
        preset: Some(At::nowhere(file::Preset::None)),
        preset_groups: None,
        zerto_v9_ip_ranges: None,
        listener: Some(At::nowhere(config.listeners.iter().map(listener).collect())),
        client: policy
            .clients()
            .iter()
            .map(|client| mirror_client(client))
            .collect(),
        clients: file::Clients {
            unlisted: Some(At::nowhere(policy.unlisted().into())),
        },
        destination: Vec::new(),
        policy: mirror_policy(config),
        dns: mirror_dns(config),
        timeouts: mirror_timeouts(config),
        limits: mirror_limits(config),
        audit: file::Audit {
            directory: config
                .audit
                .directory
                .as_ref()
                .map(|path| At::nowhere(path.display().to_string())),
            stdout: Some(At::nowhere(config.audit.stdout)),
            rotate_size: size(config.audit.rotate_size),
            rotate_every: Some(Text::of(&Timeout(config.audit.rotate_every))),
            keep: Some(Text::of(&Timeout(config.audit.keep))),
            max_size: size(config.audit.max_size),
            sync: Some(Text::of(&config.audit.sync)),
            on_failure: Some(At::nowhere(config.audit.on_failure.into())),
            seal_every: Some(Text::of(&Timeout(config.audit.seal_every))),
        },
        admin: file::Admin {
            bind: Some(Text::of(&config.admin.bind)),
            hosts: some_list(config.admin.hosts.iter().map(|host| HostName(host.clone()))),
            token_file: config
                .admin
                .token_file
                .as_ref()
                .map(|path| At::nowhere(path.display().to_string())),
            insecure: Some(config.admin.insecure),
        },
        log: file::Log {
            level: Some(config.log.level.into()),
            format: Some(config.log.format.into()),
        },
    }
}

fn mirror_client(client: &Client) -> file::Client {
    file::Client {
        name: Text::of(&Name(client.name.clone().unwrap_or_default())),
        role: Some(At::nowhere(client.role.into())),
        version: client.version.as_ref().map(Text::of),
        sources: some_list(client.sources.iter().copied()),
        destinations: client
            .destinations
            .as_ref()
            .map(|patterns| list(patterns.iter())),
        limits: file::ClientLimits {
            tunnels: client
                .limits
                .tunnels
                .and_then(NonZeroU32::new)
                .map(At::nowhere),
            rate: client.limits.rate.as_ref().map(Text::of),
        },
    }
}

fn mirror_destination(destination: &Destination) -> file::Destination {
    let ports = destination
        .ports
        .iter()
        .filter_map(|port| NonZeroU16::new(*port));
    file::Destination {
        name: name(&destination.name),
        hosts: Some(list(destination.hosts.iter())),
        ports: Some(At::nowhere(ports.map(At::nowhere).collect())),
        ip_ranges: destination
            .ip_ranges
            .as_ref()
            .map(|ranges| list(ranges.iter())),
        addresses: destination
            .addresses
            .as_ref()
            .map(|addresses| list(addresses.iter())),
        purpose: Some(At::nowhere(destination.purpose.into())),
        versions: destination.versions.as_ref().map(Text::of),
        sni: Some(At::nowhere(destination.sni.into())),
        literals_without_sni: Some(destination.literals_without_sni),
        tls_only: Some(At::nowhere(destination.tls_only)),
    }
}

fn mirror_policy(config: &Config) -> file::Policy {
    let (mode, until) = match config.policy.mode() {
        Mode::Enforce => (file::PolicyMode::Enforce, None),
        Mode::ReportOnly { until } => {
            (file::PolicyMode::ReportOnly, until.to_string().parse().ok())
        }
    };
    file::Policy {
        mode: Some(At::nowhere(mode)),
        report_only_until: until.map(|until| At::nowhere(file::DateTime(until))),
        self_addresses: some_list(config.self_addresses.iter().copied()),
    }
}

fn mirror_dns(config: &Config) -> file::Dns {
    let dns = &config.dns;
    file::Dns {
        servers: some_list(dns.servers.iter().map(|server| Nameserver(*server))),
        timeout: Some(Text::of(&Timeout(dns.timeout))),
        min_ttl: Some(Text::of(&dns.min_ttl)),
        max_ttl: Some(Text::of(&dns.max_ttl)),
        serve_stale: Some(Text::of(&dns.serve_stale)),
        nat64_prefixes: some_list(
            config
                .policy
                .nat64_prefixes()
                .iter()
                .map(|prefix| Nat64Prefix(*prefix)),
        ),
    }
}

fn mirror_timeouts(config: &Config) -> file::Timeouts {
    let timeouts = &config.timeouts;
    let timeout = |duration| Some(Text::of(&Timeout(duration)));
    file::Timeouts {
        request_head: timeout(timeouts.request_head),
        client_hello: timeout(timeouts.client_hello),
        connect: timeout(timeouts.connect),
        idle: timeout(timeouts.idle),
        half_closed: timeout(timeouts.half_closed),
        lifetime: timeout(timeouts.lifetime),
        tcp_user: timeout(timeouts.tcp_user),
        keepalive: timeout(timeouts.keepalive),
        drain: Some(Text::of(&timeouts.drain)),
    }
}

fn mirror_limits(config: &Config) -> file::Limits {
    let limits = &config.limits;
    let count = |count| NonZeroU32::new(count).map(At::nowhere);
    file::Limits {
        connections: count(limits.connections),
        connections_per_client: count(limits.connections_per_client),
        tunnels: count(limits.tunnels),
        tunnels_per_client: count(limits.tunnels_per_client),
        inventory_reserve: Some(Text::of(&Percent(limits.inventory_reserve))),
        rate_per_client: Some(Text::of(&limits.rate_per_client)),
        request_head: Some(Text::of(&Size(limits.request_head))),
    }
}

fn name(name: &std::sync::Arc<str>) -> Text<Name> {
    Text::of(&Name(name.clone()))
}

fn list<'a, F: Form + 'a>(values: impl Iterator<Item = &'a F>) -> List<F> {
    At::nowhere(values.map(Text::of).collect())
}

/// A list that restricts is left out rather than written empty.
fn some_list<F: Form>(values: impl Iterator<Item = F>) -> Option<List<F>> {
    let values: Vec<_> = values.map(|value| Text::of(&value)).collect();
    (!values.is_empty()).then(|| At::nowhere(values))
}

fn size(bytes: u64) -> Option<Text<Size>> {
    usize::try_from(bytes)
        .ok()
        .map(|bytes| Text::of(&Size(bytes)))
}

fn toml_of(file: &impl Serialize) -> String {
    // Every key of the mirror is a string and every value a TOML type.
    toml::to_string(file).unwrap_or_default()
}

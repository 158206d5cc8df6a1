//! The effective configuration as a file, which has every key with the value in force.
//!
//! It reads as the same configuration, and its digest names the policy in the trail.

use std::fmt::Write;
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::Path;
use std::time::Duration;

use callhome_settings::{At, DateTime, Form, List, Name, Percent, Size, Text, Timeout};

use super::file::{
    AdminTable, AuditTable, ClientLimitsTable, ClientTable, ClientsTable, DestinationTable,
    DnsTable, File, LimitsTable, ListenerTable, ListenerTables, LogTable, PacTable, PolicyTable,
    SandboxTable, TimeoutsTable, TlsTable,
};
use super::forms::{AccountName, HostName, Nameserver, Nat64Prefix};
use super::words::{ListenerModeWord, PolicyModeWord};
use super::{Config, preset};
use crate::policy::{Client, Destination, Enforcement, Origin};
use crate::server::{ListenerMode, ListenerOptions};

/// Returns the text. The comments, the order and the omissions of the written file don't change it.
pub(super) fn effective(config: &Config, written: &File) -> String {
    let mut text = match toml::to_string(&mirror(config, written)) {
        Ok(text) => text,
        // The mirror has a type that TOML can't write. The round-trip tests would have found it.
        Err(error) => format!("# not shown: {error}\n"),
    };
    for destination in config.policy.destinations() {
        if let Origin::Preset { confirmed, .. } = &destination.origin {
            let mark = if *confirmed { "" } else { ", unconfirmed" };
            let _ = write!(text, "\n# of the preset{mark}:\n");
            let shown = toml::to_string(&destination_mirror(destination)).unwrap_or_default();
            for line in std::iter::once("[[destination]]").chain(shown.lines()) {
                let _ = writeln!(text, "# {line}");
            }
        }
    }
    text
}

/// Returns the first 12 hexadecimal digits of the text's SHA-256.
pub(super) fn digest(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let mut hexadecimal = String::new();
    for byte in digest.as_ref().iter().take(6) {
        let _ = write!(hexadecimal, "{byte:02x}");
    }
    hexadecimal
}

fn mirror(config: &Config, written: &File) -> File {
    let policy = &config.policy;
    let groups = preset::groups(written);
    let syslog = config.audit.syslog.as_ref();
    File {
        name: Some(name(&config.name)),
        preset: word(preset::chosen(written)),
        preset_groups: Some(At::nowhere(groups.into_iter().map(At::nowhere).collect())),
        zerto_v9_ip_ranges: written.zerto_v9_ip_ranges.clone(),
        listener: Some(At::nowhere(ListenerTables(
            config.listeners.iter().map(listener_mirror).collect(),
        ))),
        client: policy
            .clients()
            .iter()
            .map(|it| client_mirror(it))
            .collect(),
        clients: ClientsTable {
            unlisted: word(policy.unlisted().into()),
        },
        destination: policy
            .destinations()
            .iter()
            .filter(|it| it.origin == Origin::Site)
            .map(|it| destination_mirror(it))
            .collect(),
        policy: policy_mirror(config),
        dns: DnsTable {
            servers: some_list(config.dns.servers.iter().copied().map(Nameserver)),
            timeout: timeout(config.dns.timeout),
            min_ttl: text(&config.dns.min_ttl),
            max_ttl: text(&config.dns.max_ttl),
            serve_stale: text(&config.dns.serve_stale),
            nat64_prefixes: some_list(policy.nat64_prefixes().iter().copied().map(Nat64Prefix)),
        },
        timeouts: timeouts_mirror(config),
        limits: limits_mirror(config),
        pac: PacTable {
            relays: some_list(config.pac_relays.iter().cloned()),
        },
        audit: AuditTable {
            directory: config.audit.directory.as_deref().map(path),
            stdout: Some(At::nowhere(config.audit.stdout)),
            syslog: syslog.and_then(|syslog| text(&syslog.server)),
            syslog_ca: syslog.and_then(|syslog| syslog.ca.as_deref()).map(path),
            rotate_size: size(config.audit.rotate_size),
            rotate_every: timeout(config.audit.rotate_every),
            keep: timeout(config.audit.keep),
            max_size: size(config.audit.max_size),
            sync: text(&config.audit.sync),
            on_failure: word(config.audit.on_failure.into()),
            seal_every: timeout(config.audit.seal_every),
        },
        admin: AdminTable {
            bind: text(&config.admin.bind),
            hosts: some_list(config.admin.hosts.iter().cloned().map(HostName)),
            token_file: config.admin.token_file.as_deref().map(path),
            insecure: Some(config.admin.insecure),
        },
        sandbox: SandboxTable {
            mode: word(config.sandbox.mode.into()),
            user: config
                .sandbox
                .user
                .clone()
                .map(AccountName)
                .as_ref()
                .and_then(text),
        },
        log: LogTable {
            level: Some(config.log.level.into()),
            format: Some(config.log.format.into()),
        },
    }
}

fn listener_mirror(listener: &ListenerOptions) -> ListenerTable {
    let (mode, target_port) = match listener.mode {
        ListenerMode::Proxy => (ListenerModeWord::Proxy, None),
        ListenerMode::Sni { target_port } => (ListenerModeWord::Sni, Some(target_port)),
    };
    ListenerTable {
        name: name(&listener.name),
        mode: word(mode),
        bind: Text::of(&listener.bind),
        target_port: target_port.and_then(NonZeroU16::new).map(At::nowhere),
        proxy_protocol_from: some_list(listener.proxy_protocol_from.iter().copied()),
        tls: listener.tls.as_ref().map(|tls| {
            At::nowhere(TlsTable {
                certificate: path(&tls.certificate),
                key: path(&tls.key),
                client_ca: tls.client_ca.as_deref().map(path),
            })
        }),
    }
}

fn client_mirror(client: &Client) -> ClientTable {
    ClientTable {
        name: name(client.name.as_deref().unwrap_or_default()),
        formerly: some_list(client.formerly.iter().cloned().map(Name)),
        role: client.role.map(|role| At::nowhere(role.into())),
        version: client.version.as_ref().and_then(text),
        expect_every: client.expect_every.and_then(timeout),
        calls_home: Some(client.calls_home),
        sources: some_list(client.sources.iter().copied()),
        certificate_names: some_list(client.certificate_names.iter().cloned()),
        destinations: client
            .destinations
            .as_ref()
            .map(|patterns| list(patterns.iter().cloned())),
        limits: ClientLimitsTable {
            tunnels: client.limits.tunnels.and_then(count),
            rate: client.limits.rate.as_ref().and_then(text),
        },
    }
}

fn destination_mirror(destination: &Destination) -> DestinationTable {
    let ports = destination.ports.iter().copied();
    DestinationTable {
        name: name(&destination.name),
        hosts: Some(list(destination.hosts.iter().cloned())),
        ports: Some(At::nowhere(
            ports.filter_map(NonZeroU16::new).map(At::nowhere).collect(),
        )),
        ip_ranges: destination
            .ip_ranges
            .as_ref()
            .map(|ranges| list(ranges.iter().copied())),
        addresses: destination
            .addresses
            .as_ref()
            .map(|addresses| list(addresses.iter().copied())),
        purpose: word(destination.purpose.into()),
        versions: destination.versions.as_ref().and_then(text),
        upload_min_bytes: size(destination.upload_min_bytes),
        sni: word(destination.sni.into()),
        literals_without_sni: Some(destination.literals_without_sni),
        tls_only: Some(At::nowhere(destination.tls_only)),
    }
}

fn policy_mirror(config: &Config) -> PolicyTable {
    let (mode, until) = match config.policy.mode() {
        Enforcement::Enforce => (PolicyModeWord::Enforce, None),
        Enforcement::ReportOnly { until } => (PolicyModeWord::ReportOnly, Some(until)),
    };
    PolicyTable {
        mode: word(mode),
        report_only_until: until.and_then(DateTime::of).map(At::nowhere),
        self_addresses: some_list::<IpAddr>(config.self_addresses.iter().copied()),
    }
}

fn timeouts_mirror(config: &Config) -> TimeoutsTable {
    let timeouts = &config.timeouts;
    TimeoutsTable {
        proxy_header: timeout(timeouts.proxy_header),
        tls_handshake: timeout(timeouts.tls_handshake),
        request_head: timeout(timeouts.request_head),
        client_hello: timeout(timeouts.client_hello),
        connect: timeout(timeouts.connect),
        idle: timeout(timeouts.idle),
        half_closed: timeout(timeouts.half_closed),
        lifetime: timeout(timeouts.lifetime),
        tcp_user: timeout(timeouts.tcp_user),
        keepalive: timeout(timeouts.keepalive),
        drain: text(&timeouts.drain),
    }
}

fn limits_mirror(config: &Config) -> LimitsTable {
    let limits = &config.limits;
    LimitsTable {
        connections: count(limits.connections),
        connections_per_client: count(limits.connections_per_client),
        tunnels: count(limits.tunnels),
        tunnels_per_client: count(limits.tunnels_per_client),
        inventory_reserve: text(&Percent(limits.inventory_reserve)),
        rate_per_client: text(&limits.rate_per_client),
        request_head: text(&Size(limits.request_head)),
    }
}

fn name(name: &str) -> Text<Name> {
    Text::of(&Name(name.into()))
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "a key of the mirror can be left out"
)]
fn text<F: Form>(value: &F) -> Option<Text<F>> {
    Some(Text::of(value))
}

fn timeout(duration: Duration) -> Option<Text<Timeout>> {
    text(&Timeout(duration))
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "a key of the mirror can be left out"
)]
fn word<W>(word: W) -> Option<At<W>> {
    Some(At::nowhere(word))
}

fn size(bytes: u64) -> Option<Text<Size>> {
    text(&Size(usize::try_from(bytes).ok()?))
}

fn count(count: u32) -> Option<At<NonZeroU32>> {
    NonZeroU32::new(count).map(At::nowhere)
}

fn path(path: &Path) -> At<String> {
    At::nowhere(path.to_string_lossy().into_owned())
}

fn list<F: Form>(values: impl Iterator<Item = F>) -> List<F> {
    At::nowhere(values.map(|value| Text::of(&value)).collect())
}

/// Leaves out an empty list, for a key that refuses one or takes it for none.
fn some_list<F: Form>(values: impl Iterator<Item = F>) -> Option<List<F>> {
    let list = list(values);
    (!list.value.is_empty()).then_some(list)
}

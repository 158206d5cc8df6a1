//! The mirror of the configuration file: its keys, their shapes, and what each is for.
//!
//! Only the shape is checked here, because `check` gives the values their meaning and their
//! defaults. The doc comments of the keys are for operators: they are the descriptions of the JSON
//! Schema, and docs/configuration.md is made from that.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use callhome_settings::{At, DateTime, List, Name, Percent, Size, Text, Timeout, table, tables};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::forms::{AccountName, HostName, Nameserver, Nat64Prefix};
use super::words::{
    GroupWord, LevelWord, ListenerModeWord, LogFormatWord, OnFailureWord, PolicyModeWord,
    PresetWord, PurposeWord, RoleWord, SandboxModeWord, SniWord, UnlistedWord,
};
use crate::audit;
use crate::authority::{Authority, DnsName};
use crate::policy::{HostPattern, NamePattern, Rate, VersionRange, ZertoVersion};

/// The configuration of callhome-relay.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "callhome-relay", inline)]
pub(super) struct File {
    /// The name of this relay, in every record. Default: the host name.
    pub(super) name: Option<Text<Name>>,
    /// The vendor's list of destinations to start from. Default: "zerto".
    pub(super) preset: Option<At<PresetWord>>,
    /// The parts of the vendor's list to allow. Default: `["billing", "billing-before-9"]`.
    pub(super) preset_groups: Option<At<Vec<At<GroupWord>>>>,
    /// The address ranges of field notice FTN-20210401. When set, they guard the billing host of
    /// Zerto 9 and later.
    pub(super) zerto_v9_ip_ranges: Option<List<IpNet>>,
    /// Ports to listen on. Default: one, named "proxy", on `[::]:3128`.
    pub(super) listener: Option<At<ListenerTables>>,
    /// The inventory: machines by name.
    #[serde(
        default,
        deserialize_with = "tables",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub(super) client: Vec<ClientTable>,
    /// Machines that are no `[[client]]`.
    #[serde(default, deserialize_with = "table")]
    pub(super) clients: ClientsTable,
    /// The site's own destinations, in addition to the preset's. The same name replaces the
    /// preset's, and inherits its `purpose`, `versions` and `upload_min_bytes`.
    #[serde(
        default,
        deserialize_with = "tables",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub(super) destination: Vec<DestinationTable>,
    /// How the rules are applied.
    #[serde(default, deserialize_with = "table")]
    pub(super) policy: PolicyTable,
    /// How names are resolved.
    #[serde(default, deserialize_with = "table")]
    pub(super) dns: DnsTable,
    /// How long each stage may take.
    #[serde(default, deserialize_with = "table")]
    pub(super) timeouts: TimeoutsTable,
    /// How much the relay takes. "Per client" means per source address, for IPv6 per /64.
    #[serde(default, deserialize_with = "table")]
    pub(super) limits: LimitsTable,
    /// The file `/proxy.pac` of every proxy listener, which tells clients which hosts to reach
    /// through the relay.
    #[serde(default, deserialize_with = "table")]
    pub(super) pac: PacTable,
    /// The audit trail.
    #[serde(default, deserialize_with = "table")]
    pub(super) audit: AuditTable,
    /// The admin listener: health and metrics.
    #[serde(default, deserialize_with = "table")]
    pub(super) admin: AdminTable,
    /// What the relay gives up once its ports are bound.
    #[serde(default, deserialize_with = "table")]
    pub(super) sandbox: SandboxTable,
    /// The operator's log, on standard error.
    #[serde(default, deserialize_with = "table")]
    pub(super) log: LogTable,
}

/// The tables of all listeners. An empty list is a mistake, while a missing one means the default.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub(super) struct ListenerTables(
    #[serde(deserialize_with = "tables")] pub(super) Vec<ListenerTable>,
);

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct ListenerTable {
    /// The name of the listener, in every record of a connection that arrives here.
    pub(super) name: Text<Name>,
    /// "proxy" is an HTTP CONNECT forward proxy. "sni" is for machines that can't be given a proxy.
    /// Their DNS has the relay's address for the hosts that they may reach, and the server name in
    /// the ClientHello is the target. Default: "proxy".
    pub(super) mode: Option<At<ListenerModeWord>>,
    /// `[::]` takes IPv4 as well, and falls back to 0.0.0.0 where IPv6 is off.
    pub(super) bind: Text<std::net::SocketAddr>,
    /// The port of every target in mode "sni", because a server name has no port. Default: 443.
    pub(super) target_port: Option<At<NonZeroU16>>,
    /// The balancers in front of the listener. If it is set, only they may connect, and each
    /// connection must begin with a PROXY header of version 1 or 2.
    pub(super) proxy_protocol_from: Option<List<IpNet>>,
    /// Makes the listener an HTTPS proxy.
    pub(super) tls: Option<At<TlsTable>>,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a table: tls = { certificate = \"relay.pem\", key = \"relay.key\" }"
)]
#[schemars(inline)]
pub(super) struct TlsTable {
    /// A PEM file with the listener's certificate, followed by those of the intermediate
    /// authorities.
    pub(super) certificate: At<String>,
    /// A PEM file with its private key.
    pub(super) key: At<String>,
    /// A PEM file with the authorities that sign clients' certificates. If it is set, each client
    /// needs a certificate, whose alternative name tells which `[[client]]` it is.
    pub(super) client_ca: Option<At<String>>,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct ClientTable {
    pub(super) name: Text<Name>,
    /// Names that it had before. Its history under them goes on.
    pub(super) formerly: Option<List<Name>>,
    /// What the machine is. Without the key it counts as a machine that calls home.
    pub(super) role: Option<At<RoleWord>>,
    /// Its version of Zerto, which decides which billing hosts count for it. If it is unknown, all
    /// of them count.
    pub(super) version: Option<Text<ZertoVersion>>,
    /// How often it calls home. Without the key, `audit quiet` takes 3 days.
    pub(super) expect_every: Option<Text<Timeout>>,
    /// Whether it calls home, so that its silence is reported. Default: true for a "zvm", a "zca",
    /// a "zcm" before version 7 and a client without a role, else false.
    pub(super) calls_home: Option<bool>,
    /// Where it connects from. The most specific network wins; two clients can't have the same.
    pub(super) sources: Option<List<IpNet>>,
    /// The host names that its certificate may have, on listeners with `client_ca`. If the client
    /// has `sources` too, both must match.
    pub(super) certificate_names: Option<List<DnsName>>,
    /// Which destinations it may use, by name; `*` only at the end. Default: all.
    pub(super) destinations: Option<List<NamePattern>>,
    /// Limits of its own.
    #[serde(default, deserialize_with = "table")]
    pub(super) limits: ClientLimitsTable,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct ClientLimitsTable {
    /// Open tunnels. Default: that of `[limits]`.
    pub(super) tunnels: Option<At<NonZeroU32>>,
    /// Request heads, refused ones included. Default: that of `[limits]`.
    pub(super) rate: Option<Text<Rate>>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct ClientsTable {
    /// Who may use the relay without being a `[[client]]`. "private" means RFC 1918, unique local,
    /// loopback and link-local addresses. Default: "private", and "deny" once there is a
    /// `[[client]]`.
    pub(super) unlisted: Option<At<UnlistedWord>>,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct DestinationTable {
    pub(super) name: Text<Name>,
    /// Whole names, or "*.example.com" for one or more labels below example.com.
    pub(super) hosts: Option<List<HostPattern>>,
    /// Default: `[443]`.
    pub(super) ports: Option<At<Vec<At<NonZeroU16>>>>,
    /// Resolved addresses must be inside. IP-literal targets are allowed inside.
    pub(super) ip_ranges: Option<List<IpNet>>,
    /// A static answer instead of DNS.
    pub(super) addresses: Option<List<std::net::IpAddr>>,
    /// Whether an upload to it counts as billing. Default: that of the preset's destination which
    /// it replaces, else "other".
    pub(super) purpose: Option<At<PurposeWord>>,
    /// The versions of Zerto it counts for. Default: those of the preset's destination which it
    /// replaces, else all.
    pub(super) versions: Option<Text<VersionRange>>,
    /// What a tunnel must carry up after the ClientHello to count as an upload. Default: that of
    /// the preset's destination which it replaces, else "1KiB".
    pub(super) upload_min_bytes: Option<Text<Size>>,
    /// Whether the ClientHello must name the target. Default: "match".
    pub(super) sni: Option<At<SniWord>>,
    /// Whether a ClientHello without a server name may pass if the target is an IP literal.
    /// Default: false.
    pub(super) literals_without_sni: Option<bool>,
    /// Whether only TLS may pass. `false` needs `sni = "any"`. Default: true.
    pub(super) tls_only: Option<At<bool>>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct PolicyTable {
    /// "report-only" lets names that are on no list through, and marks them in the trail. Default:
    /// "enforce".
    pub(super) mode: Option<At<PolicyModeWord>>,
    /// When "report-only" ends by itself: a date-time with offset, at most 30 days ahead.
    pub(super) report_only_until: Option<At<DateTime>>,
    /// Virtual or published addresses that are this relay, so that it never connects to itself.
    pub(super) self_addresses: Option<List<std::net::IpAddr>>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct DnsTable {
    /// Nameservers. Default: those of resolv.conf.
    pub(super) servers: Option<List<Nameserver>>,
    /// Default: "5s".
    pub(super) timeout: Option<Text<Timeout>>,
    /// An answer is kept at least this long. Default: "5s".
    pub(super) min_ttl: Option<Text<Duration>>,
    /// An answer is kept at most this long. Default: "5m".
    pub(super) max_ttl: Option<Text<Duration>>,
    /// An expired answer serves this long when every nameserver fails. Default: "1h".
    pub(super) serve_stale: Option<Text<Duration>>,
    /// The network's own NAT64 prefixes; `64:ff9b::/96` is known.
    pub(super) nat64_prefixes: Option<List<Nat64Prefix>>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct TimeoutsTable {
    /// From accept to the end of a PROXY header. Default: "5s".
    pub(super) proxy_header: Option<Text<Timeout>>,
    /// The TLS handshake of a listener with `tls`. Default: "10s".
    pub(super) tls_handshake: Option<Text<Timeout>>,
    /// From the first byte of a request head to its end. Default: "10s".
    pub(super) request_head: Option<Text<Timeout>>,
    /// From the 200 to the end of the ClientHello. Default: "10s".
    pub(super) client_hello: Option<Text<Timeout>>,
    /// All connection attempts to a destination together. Default: "10s".
    pub(super) connect: Option<Text<Timeout>>,
    /// No byte in either direction. Default: "10m".
    pub(super) idle: Option<Text<Timeout>>,
    /// No byte after the first FIN. Default: "2m".
    pub(super) half_closed: Option<Text<Timeout>>,
    /// A tunnel's whole life. Default: "24h".
    pub(super) lifetime: Option<Text<Timeout>>,
    /// Unacknowledged data before the kernel gives a connection up. Default: "2m".
    pub(super) tcp_user: Option<Text<Timeout>>,
    /// Silence before the kernel probes the peer. Default: "60s".
    pub(super) keepalive: Option<Text<Timeout>>,
    /// How long open tunnels may go on after SIGTERM; "0s" closes them at once. Default: "30s".
    pub(super) drain: Option<Text<Duration>>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct LimitsTable {
    /// Accepted connections in any state. Default: 8192.
    pub(super) connections: Option<At<NonZeroU32>>,
    /// Default: 512.
    pub(super) connections_per_client: Option<At<NonZeroU32>>,
    /// Open tunnels. Default: 4096.
    pub(super) tunnels: Option<At<NonZeroU32>>,
    /// Default: 256.
    pub(super) tunnels_per_client: Option<At<NonZeroU32>>,
    /// The share of `tunnels` that only a `[[client]]` may take. Default: "25%".
    pub(super) inventory_reserve: Option<Text<Percent>>,
    /// Request heads, refused ones included; the burst is twice the count. Default: "20/s".
    pub(super) rate_per_client: Option<Text<Rate>>,
    /// The longest request head. Default: "16KiB".
    pub(super) request_head: Option<Text<Size>>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct PacTable {
    /// The relays that the file names, in the order in which clients try them. Default: the relay
    /// that serves the file, by the name that the client used.
    pub(super) relays: Option<List<Authority>>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct AuditTable {
    /// Where the trail is kept. Default: `$STATE_DIRECTORY/audit` when that is set, else nowhere.
    pub(super) directory: Option<At<String>>,
    /// Whether the trail goes to standard output too. Default: true without a directory, else
    /// false.
    pub(super) stdout: Option<At<bool>>,
    /// A syslog server that gets the records of the directory (RFC 5424), over TLS, TCP, a local
    /// socket, or, for viewing only, UDP.
    pub(super) syslog: Option<Text<audit::SyslogServer>>,
    /// A PEM file with the authorities that may sign the certificate of a `tls://` server. Default:
    /// those of the system.
    pub(super) syslog_ca: Option<At<String>>,
    /// A segment of this size is closed and compressed. Default: "64MiB".
    pub(super) rotate_size: Option<Text<Size>>,
    /// A segment of this age is closed and compressed. Default: "1d".
    pub(super) rotate_every: Option<Text<Timeout>>,
    /// How long closed segments are kept. Default: "400d".
    pub(super) keep: Option<Text<Timeout>>,
    /// What all segments may take. Default: "2GiB".
    pub(super) max_size: Option<Text<Size>>,
    /// When records are made durable: "always", a duration, or "never". Default: "1s".
    pub(super) sync: Option<Text<audit::Sync>>,
    /// What happens to requests while the trail can't be written: "refuse" refuses them, "count"
    /// serves and counts them. Default: "refuse".
    pub(super) on_failure: Option<At<OnFailureWord>>,
    /// The longest time without a signed checkpoint. Default: "10m".
    pub(super) seal_every: Option<Text<Timeout>>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct AdminTable {
    /// Any address but loopback needs `token_file` and `insecure = true`. Default:
    /// "127.0.0.1:9090".
    pub(super) bind: Option<Text<std::net::SocketAddr>>,
    /// Names that the Host field of a request may have besides localhost and addresses.
    pub(super) hosts: Option<List<HostName>>,
    /// A file that holds the bearer token which `/metrics` asks for.
    pub(super) token_file: Option<At<String>>,
    /// Accepts that the token crosses the network in plain text. Default: false.
    pub(super) insecure: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct SandboxTable {
    /// "auto" confines the relay as far as the kernel allows, and logs what is missing. With
    /// "require" the relay doesn't start if anything is missing. Default: "auto".
    pub(super) mode: Option<At<SandboxModeWord>>,
    /// The account that a relay started as root becomes: one of /etc/passwd, or a number. "root"
    /// stays root, without capabilities. Default: "callhome-relay" where there is such an account,
    /// else root.
    pub(super) user: Option<Text<AccountName>>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct LogTable {
    /// Default: "info".
    pub(super) level: Option<LevelWord>,
    /// Default: "text".
    pub(super) format: Option<LogFormatWord>,
}

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::authority::{Authority, DnsName};
use crate::policy::{Mode, Origin, Unlisted};
use crate::server::ListenerMode;

fn environment() -> Environment {
    Environment {
        now: "2026-11-24T14:00:00Z".parse().unwrap(),
        host_name: "relay-a".to_owned(),
        state_directory: None,
    }
}

fn parse(text: &str) -> Config {
    Config::parse_in(text, "relay.toml", &environment()).unwrap()
}

fn refused(text: &str) -> String {
    match Config::parse_in(text, "relay.toml", &environment()) {
        Ok(_) => panic!("read without a mistake: {text}"),
        Err(error) => error.to_string(),
    }
}

fn allows(config: &Config, source: &str, target: &str) -> bool {
    let target: Authority = target.parse().unwrap();
    let now = environment().now;
    config
        .policy
        .admit(source.parse().unwrap())
        .is_ok_and(|client| config.policy.decide(&client, &target, now).is_ok())
}

#[test]
fn without_a_file_the_defaults_hold() {
    let config = parse("");
    assert_eq!(&*config.name, "relay-a");
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].bind.to_string(), "[::]:3128");
    assert_eq!(config.policy.unlisted(), Unlisted::Private);
    assert!(config.audit.stdout && config.audit.directory.is_none());
    assert_eq!(config.warnings, Vec::<String>::new());
    for target in ["ch3.zerto.com:443", "autologs.zerto.com:443"] {
        assert!(allows(&config, "10.0.0.1", target), "{target}");
        assert!(!allows(&config, "192.0.2.1", target), "{target}");
    }
    for target in ["zapps.zerto.com:443", "ch3.zerto.com:80", "example.com:443"] {
        assert!(!allows(&config, "10.0.0.1", target), "{target}");
    }
    let built_in = Config::built_in().unwrap();
    assert_eq!(built_in.source, ConfigSource::BuiltIn);
}

#[test]
fn the_default_file_says_the_defaults() {
    for state_directory in [None, Some("/var/lib/relay".into())] {
        let environment = Environment {
            state_directory,
            ..environment()
        };
        let written = Config::parse_in(default_file(), "default", &environment).unwrap();
        let built_in = Config::parse_in("", "none", &environment).unwrap();
        assert_eq!(written.show(), built_in.show());
        assert_eq!(written.digest, built_in.digest);
        assert_eq!(
            written.changes_needing_restart(&built_in),
            Vec::<&str>::new()
        );
        assert_eq!(written.warnings, built_in.warnings);
    }
}

/// Runs of lines that start with `#` and no space, as line ranges.
fn examples() -> Vec<std::ops::Range<usize>> {
    let lines: Vec<&str> = default_file().lines().collect();
    let example = |line: &str| line.starts_with('#') && !line.starts_with("# ") && line != "#";
    let mut runs = Vec::new();
    let mut start = None;
    for (number, line) in lines.iter().chain([&""]).enumerate() {
        match (example(line), start) {
            (true, None) => start = Some(number),
            (false, Some(first)) => {
                runs.push(first..number);
                start = None;
            }
            _ => {}
        }
    }
    runs
}

#[test]
fn every_example_of_the_default_file_can_be_uncommented() {
    let examples = examples();
    assert!(examples.len() >= 10);
    for example in examples {
        let text: Vec<&str> = default_file()
            .lines()
            .enumerate()
            // The one key that stands there with its default already.
            .filter(|(number, line)| {
                !(example.contains(&(number + 4)) && *line == "mode = \"enforce\"")
            })
            .map(|(number, line)| {
                let uncommented = line.strip_prefix('#').filter(|_| example.contains(&number));
                uncommented.unwrap_or(line)
            })
            .collect();
        let text = text.join("\n");
        if let Err(error) = Config::parse_in(&text, "default", &environment()) {
            panic!("lines {example:?}:\n{error}");
        }
    }
}

/// A key that is neither in the default file nor in the schema would be a secret of the source.
#[test]
fn the_default_file_and_the_schema_have_the_same_keys() {
    fn keys(schema: &serde_json::Value, into: &mut Vec<String>) {
        match schema {
            serde_json::Value::Object(map) => {
                for (name, value) in map {
                    if let (true, Some(properties)) = (name == "properties", value.as_object()) {
                        into.extend(properties.keys().cloned());
                    }
                    keys(value, into);
                }
            }
            serde_json::Value::Array(values) => values.iter().for_each(|it| keys(it, into)),
            _ => {}
        }
    }
    let mut known = Vec::new();
    keys(&schema(), &mut known);
    assert!(known.len() > 50, "{known:?}");
    for key in known {
        let written = default_file().lines().any(|line| {
            let line = line.trim_start_matches(['#', '[']);
            line.strip_prefix(&key)
                .is_some_and(|rest| rest.starts_with([' ', ']']))
                || line.contains(&format!("{{ {key} = "))
                || line.contains(&format!(", {key} = "))
        });
        assert!(written, "{key} is not in the default file");
    }
}

#[test]
fn the_schema_describes_the_file() {
    let schema = schema();
    assert_eq!(schema["additionalProperties"], false);
    let timeouts = &schema["properties"]["timeouts"];
    assert_eq!(timeouts["additionalProperties"], false);
    let idle = &timeouts["properties"]["idle"];
    assert!(idle["description"].as_str().unwrap().contains("10m"));
    assert!(idle["pattern"].is_string(), "{idle}");
    let mode = schema["properties"]["listener"].to_string();
    assert!(
        mode.contains(r#""proxy""#) && mode.contains(r#""sni""#),
        "{mode}"
    );
    // No name of a Rust type leaks out of it.
    assert!(schema.get("$defs").is_none(), "{schema:#}");
}

const FULL: &str = r#"
name = "dmz-1"
preset_groups = ["billing", "licensing"]
zerto_v9_ip_ranges = ["192.0.2.0/24"]

[[listener]]
name = "inside"
bind = "10.0.0.2:3128"
proxy_protocol_from = ["10.0.0.5", "2001:db8:5::/64"]
tls = { certificate = "relay.pem", key = "relay.key", client_ca = "clients.pem" }

[[listener]]
name = "tls"
bind = "10.0.0.2:3129"
tls = { certificate = "relay.pem", key = "relay.key" }

[[listener]]
name = "passthrough"
mode = "sni"
bind = "10.0.0.2:443"
target_port = 8443

[[client]]
name = "zvm-ams-1"
role = "zvm"
version = "9.7"
sources = ["10.20.0.11", "2001:db8::/64"]
certificate_names = ["ZVM-Ams-1", "zvm-ams-1.example."]
destinations = ["zerto-*"]
limits = { tunnels = 64, rate = "5/m" }

[[client]]
name = "certified"
certificate_names = ["zvm-fra-1"]

[[client]]
name = "idle"
sources = ["10.21.0.0/16"]
destinations = []

[clients]
unlisted = "any"

[[destination]]
name = "mirror"
hosts = ["*.example.com", "example.com"]
ports = [443, 8443]
ip_ranges = ["10.0.0.0/24", "198.51.100.7"]
addresses = ["198.51.100.7"]
versions = "<9"
purpose = "billing"
sni = "any"
literals_without_sni = true
tls_only = false

[[destination]]
name = "nothing"
hosts = []

[policy]
mode = "report-only"
report_only_until = 2026-12-01T09:00:00+01:00
self_addresses = ["203.0.113.1"]

[dns]
servers = ["10.0.0.53", "[2001:db8::53]:5353"]
timeout = "1500ms"
min_ttl = "0s"
max_ttl = "1d"
serve_stale = "0s"
nat64_prefixes = ["2001:db8:64::/96"]

[timeouts]
proxy_header = "1s"
tls_handshake = "2s"
idle = "90s"
drain = "0s"

[limits]
connections = 100
connections_per_client = 10
tunnels = 90
tunnels_per_client = 9
inventory_reserve = "0%"
rate_per_client = "100/h"
request_head = "8192B"

[pac]
relays = ["Relay-A.example.:3128", "[2001:DB8::1]:3128"]

[audit]
directory = "trail"
stdout = true
syslog = "tls://syslog.example:6514"
syslog_ca = "ca.pem"

[admin]
bind = "[::]:9090"
hosts = ["Relay.example", "10.0.0.2"]
token_file = "token"
insecure = true

[log]
level = "debug"
format = "json"
"#;

#[test]
fn every_key_arrives() {
    let config = parse(FULL);
    assert_eq!(&*config.name, "dmz-1");
    assert_eq!(config.listeners[0].bind.to_string(), "10.0.0.2:3128");
    let listener = &config.listeners[0];
    assert_eq!(listener.proxy_protocol_from.len(), 2);
    let tls = listener.tls.as_ref().unwrap();
    assert_eq!(
        (&*tls.certificate, &*tls.key),
        (Path::new("relay.pem"), Path::new("relay.key"))
    );
    assert_eq!(tls.client_ca.as_deref(), Some(Path::new("clients.pem")));
    assert_eq!(config.listeners[1].tls.as_ref().unwrap().client_ca, None);
    assert_eq!(config.timeouts.proxy_header.as_secs(), 1);
    assert_eq!(config.timeouts.tls_handshake.as_secs(), 2);
    assert_eq!(config.listeners[0].mode, ListenerMode::Proxy);
    let passthrough = ListenerMode::Sni { target_port: 8443 };
    assert_eq!(config.listeners[2].mode, passthrough);
    assert_eq!(config.policy.unlisted(), Unlisted::Any);
    let until = "2026-12-01T08:00:00Z".parse().unwrap();
    assert_eq!(config.policy.mode(), Mode::ReportOnly { until });
    assert_eq!(config.policy.nat64_prefixes().len(), 1);
    let names: Vec<_> = config
        .policy
        .destinations()
        .iter()
        .map(|it| &*it.name)
        .collect();
    assert_eq!(
        names,
        ["zerto-billing-9", "zerto-licensing", "mirror", "nothing"]
    );
    let guarded = &config.policy.destinations()[0];
    assert_eq!(
        guarded.ip_ranges.as_deref(),
        Some(&["192.0.2.0/24".parse().unwrap()][..])
    );
    let mirror = &config.policy.destinations()[2];
    assert_eq!(mirror.origin, Origin::Site);
    assert_eq!(mirror.ports, [443, 8443]);
    assert!(mirror.literals_without_sni && !mirror.tls_only);
    let zvm = &config.policy.clients()[0];
    assert_eq!(zvm.version.unwrap().to_string(), "9.7");
    assert_eq!(zvm.limits.tunnels, Some(64));
    let names: Vec<_> = zvm.certificate_names.iter().map(DnsName::as_str).collect();
    assert_eq!(names, ["zvm-ams-1", "zvm-ams-1.example"]);
    assert!(config.policy.clients()[1].sources.is_empty());
    assert_eq!(
        config.policy.clients()[2].destinations.as_deref(),
        Some(&[][..])
    );
    assert_eq!(
        config.self_addresses,
        ["203.0.113.1".parse::<IpAddr>().unwrap()]
    );
    let relays: Vec<_> = config.pac_relays.iter().map(ToString::to_string).collect();
    assert_eq!(relays, ["relay-a.example:3128", "[2001:db8::1]:3128"]);
    assert_eq!(config.dns.servers[0].to_string(), "10.0.0.53:53");
    assert_eq!(config.dns.timeout.as_millis(), 1500);
    assert!(config.dns.min_ttl.is_zero() && config.timeouts.drain.is_zero());
    assert_eq!(config.timeouts.idle.as_secs(), 90);
    assert_eq!(config.limits.request_head, 8192);
    assert_eq!(config.limits.inventory_reserve, 0);
    assert_eq!(config.limits.rate_per_client.to_string(), "100/h");
    assert_eq!(config.audit.directory.as_deref(), Some(Path::new("trail")));
    assert!(config.audit.stdout);
    let syslog = config.audit.syslog.as_ref().unwrap();
    assert_eq!(syslog.server.to_string(), "tls://syslog.example:6514");
    assert_eq!(syslog.ca.as_deref(), Some(Path::new("ca.pem")));
    assert_eq!(config.admin.hosts, ["relay.example", "10.0.0.2"]);
    assert!(config.admin.insecure && config.admin.token_file.is_some());
    assert_eq!(config.log.level, telemetry::Level::Debug);
    assert_eq!(config.log.format, telemetry::LogFormat::Json);
    assert!(!allows(&config, "10.21.0.1", "ch3.zerto.com:443"));
    // Known by a certificate, and none was shown.
    assert!(!allows(&config, "10.20.0.11", "ch3.zerto.com:443"));
    assert!(allows(&config, "10.20.0.12", "ch3.zerto.com:443"));
}

#[test]
fn what_is_shown_reads_as_the_same() {
    for text in ["", FULL, "preset = \"none\"", "preset_groups = []"] {
        let config = parse(text);
        let again = parse(&config.show());
        assert_eq!(config.show(), again.show());
        assert_eq!(config.digest, again.digest);
        assert_eq!(config.changes_needing_restart(&again), Vec::<&str>::new());
        assert_eq!(config.pac_relays, again.pac_relays);
        assert_eq!(config.dns, again.dns);
        assert_eq!(config.timeouts, again.timeouts);
        assert_eq!(config.limits, again.limits);
        let rules = |config: &Config| {
            format!(
                "{:?} {:?}",
                config.policy.destinations(),
                config.policy.clients()
            )
        };
        assert_eq!(rules(&config), rules(&again));
    }
    assert!(parse("").show().contains("# hosts = [\"ch3.zerto.com\"]"));
}

#[test]
fn the_digest_is_of_what_is_in_force() {
    let digest = |text: &str| parse(text).digest;
    let plain = digest("preset = \"zerto\"\n[timeouts]\nidle = \"10m\"\nconnect = \"10s\"\n");
    assert_eq!(plain.len(), 12);
    assert!(plain.bytes().all(|b| b.is_ascii_hexdigit()));
    assert_eq!(plain, digest(""));
    assert_eq!(
        plain,
        digest("# a comment\n[timeouts]\nconnect = \"10000ms\"\nidle = \"600s\"\n")
    );
    for other in [
        "preset = \"none\"",
        "preset_groups = [\"billing\"]",
        "zerto_v9_ip_ranges = [\"192.0.2.0/24\"]",
        "[timeouts]\nidle = \"11m\"",
        "[clients]\nunlisted = \"deny\"",
    ] {
        assert_ne!(plain, digest(other), "{other}");
    }
}

#[test]
fn only_what_a_running_relay_cannot_change_needs_a_restart() {
    let old = parse("");
    for (text, keys) in [
        (
            "preset_groups = [\"upgrades\"]\n[limits]\ntunnels = 300\n[dns]\ntimeout = \"1s\"",
            &[][..],
        ),
        (
            "[policy]\nself_addresses = [\"10.0.0.1\"]\n[timeouts]\nidle = \"1m\"",
            &[],
        ),
        ("name = \"b\"", &["name"]),
        (
            "[[listener]]\nname = \"proxy\"\nbind = \"[::]:3129\"",
            &["[[listener]]"],
        ),
        (
            "[[listener]]\nname = \"proxy\"\nbind = \"[::]:3128\"\nproxy_protocol_from = [\"10.0.0.5\"]",
            &["[[listener]]"],
        ),
        (
            "[[listener]]\nname = \"proxy\"\nbind = \"[::]:3128\"\ntls = { certificate = \"a\", key = \"b\" }",
            &["[[listener]]"],
        ),
        (
            "[audit]\ndirectory = \"a\"\n[admin]\nhosts = [\"a\"]",
            &["[audit]", "[admin]"],
        ),
        ("[sandbox]\nuser = \"root\"", &["[sandbox]"]),
        ("[log]\nlevel = \"warn\"", &["[log]"]),
    ] {
        assert_eq!(old.changes_needing_restart(&parse(text)), keys, "{text}");
    }
    let shipped = |server: &str| {
        parse(&format!(
            "[audit]\ndirectory = \"a\"\nsyslog = \"{server}\""
        ))
    };
    let (one, another) = (shipped("tcp://a:601"), shipped("tcp://b:601"));
    assert_eq!(one.changes_needing_restart(&another), ["[audit]"]);
}

#[test]
fn an_inventory_closes_the_door_to_others() {
    let client = "[[client]]\nname = \"a\"\nsources = [\"10.0.0.1\"]\n";
    assert_eq!(parse(client).policy.unlisted(), Unlisted::Deny);
    let open = format!("{client}[clients]\nunlisted = \"private\"");
    assert_eq!(parse(&open).policy.unlisted(), Unlisted::Private);
}

#[test]
fn a_trail_is_kept_somewhere() {
    let audit = |text: &str, state: Option<&str>| {
        let environment = Environment {
            state_directory: state.map(Into::into),
            ..environment()
        };
        Config::parse_in(text, "relay.toml", &environment).map(|config| {
            let directory = config.audit.directory.map(|it| it.display().to_string());
            (directory.unwrap_or_default(), config.audit.stdout)
        })
    };
    for (text, state, directory, stdout) in [
        ("", None, "", true),
        ("", Some(""), "", true),
        ("", Some("/var/lib/a"), "/var/lib/a/audit", false),
        ("", Some("/var/lib/a:/var/lib/b"), "/var/lib/a/audit", false),
        ("[audit]\nstdout = true", Some("/s"), "/s/audit", true),
        ("[audit]\nstdout = false", Some("/s"), "/s/audit", false),
        ("[audit]\ndirectory = \"/d\"", Some("/s"), "/d", false),
        (
            "[audit]\ndirectory = \"/d\"\nstdout = true",
            None,
            "/d",
            true,
        ),
    ] {
        assert_eq!(
            audit(text, state).unwrap(),
            (directory.to_owned(), stdout),
            "{text}"
        );
    }
    assert!(audit("[audit]\nstdout = false", None).is_err());
}

#[test]
fn report_only_ends() {
    let config = |until: &str| {
        let text = format!("[policy]\nmode = \"report-only\"\nreport_only_until = {until}");
        Config::parse_in(&text, "relay.toml", &environment())
    };
    let soon = config("2026-12-24T14:00:00Z").unwrap();
    assert!(matches!(soon.policy.mode(), Mode::ReportOnly { .. }));
    assert!(soon.warnings[0].starts_with("report-only until"));
    // It was fine before, so the relay starts, and enforces.
    let over = config("2026-11-24T14:00:00Z").unwrap();
    assert_eq!(over.policy.mode(), Mode::Enforce);
    assert!(over.warnings[0].starts_with("report-only ended"));
    for bad in [
        "2026-12-24T14:00:01Z",
        "2026-12-01T08:00:00",
        "2026-12-01",
        "\"2026-12-01T08:00:00Z\"",
    ] {
        assert!(config(bad).is_err(), "{bad}");
    }
}

#[test]
fn suspicious_files_are_warned_about() {
    let replaced = "zerto_v9_ip_ranges = [\"192.0.2.0/24\"]\n[[destination]]\nname = \"zerto-billing-9\"\nhosts = [\"ch3.zerto.com\"]\n";
    for (text, words) in [
        (replaced, "drops zerto_v9_ip_ranges"),
        ("preset = \"none\"", "the allowlist is empty"),
        ("preset_groups = []", "the allowlist is empty"),
        (
            "preset = \"none\"\n[[destination]]\nname = \"a\"\nhosts = []",
            "the allowlist is empty",
        ),
        (
            "preset_groups = [\"licensing\"]\nzerto_v9_ip_ranges = [\"192.0.2.0/24\"]",
            "guards nothing",
        ),
        (
            "preset = \"none\"\npreset_groups = [\"billing\"]",
            "preset_groups has no effect",
        ),
        ("[clients]\nunlisted = \"any\"", "unlisted = \"any\""),
        (
            "[[client]]\nname = \"a\"\ncertificate_names = [\"a\"]",
            "no listener has a client_ca",
        ),
        (
            "[[listener]]\nname = \"tls\"\nbind = \"[::]:1\"\ntls = { certificate = \"a\", key = \"b\", client_ca = \"c\" }",
            "everyone will be refused on the listener tls",
        ),
        (
            "[[listener]]\nname = \"a\"\nbind = \"[::]:1\"\nproxy_protocol_from = [\"10.0.0.5\", \"::/0\"]",
            "proxy_protocol_from has ::/0",
        ),
        (
            "[policy]\nreport_only_until = 2026-12-01T08:00:00Z",
            "report_only_until has no effect",
        ),
    ] {
        let warnings = parse(text).warnings;
        assert!(
            warnings.iter().any(|it| it.contains(words)),
            "{text}: {warnings:?}"
        );
    }
    let guarded = format!("{replaced}ip_ranges = [\"192.0.2.0/25\"]");
    assert_eq!(parse(&guarded).warnings, Vec::<String>::new());
    assert_eq!(parse(&guarded).policy.destinations().len(), 2);
}

/// A file a mistake, with the exact report beside it. `UPDATE_EXPECT=1` writes the reports anew.
#[test]
fn each_mistake_is_shown_at_its_place() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("relay/config/testdata");
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut files: Vec<PathBuf> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "toml"))
        .collect();
    files.sort();
    assert!(files.len() >= 20);
    let mut wrong = Vec::new();
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&file).unwrap();
        let report = match Config::parse_in(&text, &name, &environment()) {
            Ok(_) => panic!("{name} is read without a mistake"),
            Err(error) => error.to_string() + "\n",
        };
        // Wherever it is, the place is given.
        assert!(report.contains(&format!("--> {name}:")), "{report}");
        let expected = file.with_extension("txt");
        if update {
            fs::write(&expected, &report).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != report {
            wrong.push(report);
        }
    }
    assert!(wrong.is_empty(), "not as expected:\n{}", wrong.join("\n"));
}

#[test]
fn all_mistakes_are_reported_and_summed_up_in_a_line() {
    let text = "name = \"a\\nb\"\n[timeouts]\nidle = \"5\"\n[limits]\nrequest_head = \"1B\"\n";
    let error = Config::parse_in(text, "relay.toml", &environment()).unwrap_err();
    for line in ["relay.toml:1:8", "relay.toml:3:8", "relay.toml:5:16"] {
        assert!(error.to_string().contains(line), "{error}");
    }
    assert_eq!(
        error.summary(),
        r"relay.toml:1:8: `a\nb` is not a name (and 2 more)"
    );
    assert!(!error.to_string().contains('\u{1b}'));
    assert!(error.render(true).contains('\u{1b}'));
}

#[test]
fn the_place_is_right_after_a_byte_order_mark_and_in_crlf_files() {
    assert!(refused("\u{feff}name = \"a\"\r\nnmae = \"b\"\r\n").contains("relay.toml:2:1"));
    assert!(refused("\u{feff}nmae = \"b\"\r\n").contains("nmae"));
    assert_eq!(&*parse("\u{feff}name = \"a\"\r\n").name, "a");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("relay.toml");
    let load = || Config::load(&ConfigSource::File(path.clone()));
    let error = load().unwrap_err();
    assert!(
        error
            .to_string()
            .contains("can't read the configuration: No such file"),
        "{error}"
    );
    assert!(error.to_string().contains(path.to_str().unwrap()));
    assert!(error.summary().starts_with(path.to_str().unwrap()));

    fs::write(&path, b"name = \"a\"\n# caf\xe9\n").unwrap();
    let error = load().unwrap_err();
    assert!(error.to_string().contains("not UTF-8"), "{error}");
    assert!(error.to_string().contains("relay.toml:2:6"), "{error}");

    fs::write(&path, "name = \"a\"\n").unwrap();
    assert_eq!(load().unwrap().source, ConfigSource::File(path.clone()));
    assert_eq!(
        ConfigSource::find(Some(path.clone())),
        ConfigSource::File(path.clone())
    );
}

proptest! {
    /// Whatever happens to a file, it is read or refused with a report; what is read shows as the same again.
    #[test]
    fn no_file_panics(
        edits in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![
            Just(String::new()), "[ -~\n]", "[0-9\"\\[\\]{}=.,#*/:-]{1,3}", "\\PC",
        ]), 0..6),
        full: bool,
    ) {
        let mut text: Vec<char> = if full { FULL } else { default_file() }.chars().collect();
        for (at, new) in edits {
            let at = at.index(text.len());
            text.splice(at..=at, new.chars());
        }
        let text: String = text.into_iter().collect();
        match Config::parse_in(&text, "relay.toml", &environment()) {
            Ok(config) => {
                let again = Config::parse_in(&config.show(), "shown", &environment());
                prop_assert_eq!(config.digest, again.map_or_else(|error| error.to_string(), |it| it.digest));
            }
            Err(error) => {
                prop_assert!(error.render(true).len() >= error.to_string().len());
                prop_assert!(!error.summary().contains('\n'));
            }
        }
    }
}

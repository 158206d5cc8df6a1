//! The options that the keys of a file become, and the file that they are shown as.

use std::net::IpAddr;
use std::path::Path;

use super::{FULL, allows, environment, parse};
use crate::authority::DnsName;
use crate::config::{Config, Environment};
use crate::policy::{Enforcement, Origin, Purpose, Unlisted};
use crate::server::ListenerMode;
use crate::telemetry;

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
    assert_eq!(config.policy.mode(), Enforcement::ReportOnly { until });
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
    let formerly: Vec<_> = zvm.formerly.iter().map(|name| &**name).collect();
    assert_eq!(formerly, ["zvm-ams", "zvm-old"]);
    assert_eq!(zvm.expect_every.unwrap().as_secs(), 86_400);
    assert!(!zvm.calls_home && config.policy.clients()[1].calls_home);
    assert_eq!(mirror.upload_min_bytes, 4096);
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
    // This client is known by its certificate, and the question has none.
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
fn a_machine_calls_home_unless_its_role_says_otherwise() {
    let client = |keys: &str| {
        let text = format!("[[client]]\nname = \"a\"\nsources = [\"10.0.0.1\"]\n{keys}");
        parse(&text).policy.clients()[0].clone()
    };
    for (keys, calls_home) in [
        ("", true),
        ("role = \"zvm\"", true),
        ("role = \"zca\"\nversion = \"8.5\"", true),
        ("role = \"zcm\"\nversion = \"6.5\"", true),
        ("role = \"zcm\"\nversion = \"7\"", false),
        ("role = \"zcm\"", false),
        ("role = \"other\"", false),
        ("role = \"other\"\ncalls_home = true", true),
        ("calls_home = false", false),
    ] {
        assert_eq!(client(keys).calls_home, calls_home, "{keys}");
    }
    assert_eq!(client("").role, None, "no role isn't the role \"other\"");
}

/// A site replaces the vendor's entry to set its addresses, as the documentation advises. Its
/// uploads must go on counting.
#[test]
fn a_replaced_destination_of_the_preset_goes_on_counting() {
    let replaced = |before: &str, keys: &str| {
        let text = format!(
            "{before}[[destination]]\nname = \"zerto-billing-9\"\nhosts = [\"ch3.zerto.com\"]\n{keys}"
        );
        let destinations = parse(&text).policy.destinations().to_vec();
        let found = destinations
            .iter()
            .find(|it| &*it.name == "zerto-billing-9");
        let found = found.unwrap();
        let versions = found.versions.map(|it| it.to_string());
        (found.purpose, versions, found.upload_min_bytes)
    };
    let from_9 = || Some(">=9.0".to_owned());
    assert_eq!(replaced("", ""), (Purpose::Billing, from_9(), 1024));
    // The entry is the vendor's also where its group isn't in use.
    let unused = "preset_groups = [\"billing-before-9\"]\n";
    assert_eq!(replaced(unused, ""), (Purpose::Billing, from_9(), 1024));
    let own = "purpose = \"other\"\nversions = \"<8\"\nupload_min_bytes = \"9B\"";
    let expected = (Purpose::Other, Some("<8.0".to_owned()), 9);
    assert_eq!(replaced("", own), expected);
    let none = "preset = \"none\"\n";
    assert_eq!(replaced(none, ""), (Purpose::Other, None, 1024));
}

#[test]
fn a_client_of_unknown_version_counts_at_every_billing_destination() {
    let places = |keys: &str| {
        let text = format!("[[client]]\nname = \"a\"\nsources = [\"10.0.0.1\"]\n{keys}");
        let policy = parse(&text).policy;
        let places = policy.billing_destinations(&policy.clients()[0]);
        let names: Vec<_> = places.map(|it| it.name.to_string()).collect();
        names.join(" ")
    };
    assert_eq!(places(""), "zerto-billing-9 zerto-billing-before-9");
    assert_eq!(places("version = \"9\""), "zerto-billing-9");
    assert_eq!(places("version = \"8.5\""), "zerto-billing-before-9");
    let held = "version = \"9\"\ndestinations = [\"zerto-billing-before-9\"]";
    assert_eq!(places(held), "");
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
    assert!(matches!(soon.policy.mode(), Enforcement::ReportOnly { .. }));
    assert!(soon.warnings[0].starts_with("report-only until"));
    // The file was right before its end came, so the relay starts and enforces the policy.
    let over = config("2026-11-24T14:00:00Z").unwrap();
    assert_eq!(over.policy.mode(), Enforcement::Enforce);
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

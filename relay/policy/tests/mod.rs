//! The policy's answers, rule by rule.

use jiff::Timestamp;

use super::*;
use crate::authority::{Authority, Host, ServerName};

mod registry;
mod rules;

const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);
const LATER: Timestamp = Timestamp::constant(1_700_000_001, 0);

fn destination(name: &str, hosts: &[&str]) -> Destination {
    Destination {
        name: name.into(),
        hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
        ports: vec![443],
        ip_ranges: None,
        addresses: None,
        purpose: Purpose::Other,
        versions: None,
        sni: SniRule::Match,
        literals_without_sni: false,
        upload_min_bytes: UPLOAD_MIN_BYTES,
        tls_only: true,
        origin: Origin::Site,
    }
}

fn ranged(name: &str, hosts: &[&str], ranges: &[&str]) -> Destination {
    Destination {
        ip_ranges: Some(ranges.iter().map(|range| net(range)).collect()),
        ..destination(name, hosts)
    }
}

fn client(name: &str, sources: &[&str]) -> Client {
    Client {
        name: Some(name.into()),
        role: Some(Role::Zvm),
        sources: sources.iter().map(|source| net(source)).collect(),
        ..Client::unlisted()
    }
}

fn held_to(name: &str, patterns: &[&str]) -> Client {
    Client {
        destinations: Some(patterns.iter().map(|it| it.parse().unwrap()).collect()),
        ..client(name, &["192.168.0.1"])
    }
}

fn rules(destinations: Vec<Destination>, clients: Vec<Client>) -> Rules {
    Rules {
        destinations,
        clients,
        unlisted: Unlisted::Private,
        mode: Enforcement::Enforce,
        nat64_prefixes: Vec::new(),
    }
}

fn policy(destinations: Vec<Destination>) -> Policy {
    Policy::new(rules(destinations, Vec::new())).unwrap()
}

fn report_only(destinations: Vec<Destination>) -> Policy {
    Policy::new(Rules {
        mode: Enforcement::ReportOnly { until: LATER },
        ..rules(destinations, Vec::new())
    })
    .unwrap()
}

/// Makes a network of the text. An address means the prefix of its whole length, as in the
/// configuration.
fn net(text: &str) -> ipnet::IpNet {
    text.parse().unwrap_or_else(|_| ip(text).into())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text}"))
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| ip(text)).collect()
}

fn target(text: &str) -> Authority {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn permit(policy: &Policy, text: &str) -> Permit {
    policy
        .decide(&Client::unlisted(), &target(text), NOW)
        .unwrap_or_else(|denial| panic!("{text}: {denial}"))
}

/// Gives the name of the destination that decided, or the reason of the refusal.
fn decided(policy: &Policy, client: &Client, text: &str) -> Result<String, Reason> {
    match policy.decide(client, &target(text), NOW) {
        Ok(permit) => Ok(permit.destination().map_or("-", |it| &*it.name).to_owned()),
        Err(denial) => Err(denial.refusal.reason),
    }
}

#[test]
fn the_most_specific_host_decides() {
    let policy = policy(vec![
        destination("wide", &["*.example.com"]),
        destination("narrow", &["*.eu.example.com"]),
        destination("exact", &["a.eu.example.com", "example.com"]),
    ]);
    for (host, expected) in [
        ("a.eu.example.com:443", Ok("exact")),
        ("A.EU.Example.COM.:443", Ok("exact")),
        ("example.com:443", Ok("exact")),
        ("b.eu.example.com:443", Ok("narrow")),
        ("c.a.eu.example.com:443", Ok("narrow")),
        ("eu.example.com:443", Ok("wide")),
        ("us.example.com:443", Ok("wide")),
        ("badexample.com:443", Err(Reason::DestinationNotAllowed)),
        (
            "example.com.evil.org:443",
            Err(Reason::DestinationNotAllowed),
        ),
        ("com:443", Err(Reason::DestinationNotAllowed)),
        ("192.0.2.1:443", Err(Reason::DestinationNotAllowed)),
    ] {
        let found = decided(&policy, &Client::unlisted(), host);
        assert_eq!(found, expected.map(str::to_owned), "{host}");
    }
}

#[test]
fn nothing_falls_through_to_a_wider_destination() {
    let wide = Destination {
        ports: vec![443, 8443],
        ..destination("wide", &["*.example.com"])
    };
    let policy = policy(vec![wide, destination("exact", &["a.example.com"])]);
    let held = held_to("zvm", &["wide"]);
    assert_eq!(
        decided(&policy, &Client::unlisted(), "a.example.com:8443"),
        Err(Reason::PortNotAllowed)
    );
    assert_eq!(
        decided(&policy, &held, "a.example.com:443"),
        Err(Reason::DestinationNotAllowed)
    );
    assert_eq!(
        decided(&policy, &held, "b.example.com:8443"),
        Ok("wide".into())
    );
    // The port is checked before the client.
    assert_eq!(
        decided(&policy, &held, "a.example.com:8443"),
        Err(Reason::PortNotAllowed)
    );
}

#[test]
fn literals_belong_to_the_longest_range() {
    let mut rules = rules(
        vec![
            ranged("wide", &[], &["20.0.0.0/8"]),
            ranged("narrow", &[], &["20.1.0.0/16"]),
            ranged("v6", &[], &["2600::/16"]),
            destination("names", &["a.example.com"]),
        ],
        Vec::new(),
    );
    rules.nat64_prefixes = vec!["2001:db8:64::/48".parse().unwrap()];
    let policy = Policy::new(rules).unwrap();
    for (host, expected) in [
        ("20.0.0.1:443", Ok("wide")),
        ("20.1.0.1:443", Ok("narrow")),
        ("[::ffff:20.1.0.1]:443", Ok("narrow")),
        ("[64:ff9b::20.1.0.1]:443", Ok("narrow")),
        ("[2001:db8:64:1401:0:100::]:443", Ok("narrow")),
        ("[::20.1.0.1]:443", Err(Reason::DestinationNotAllowed)),
        ("[2002:1401:1::]:443", Err(Reason::DestinationNotAllowed)),
        ("[2600::1]:443", Ok("v6")),
        ("[2601::1]:443", Err(Reason::DestinationNotAllowed)),
        ("21.0.0.1:443", Err(Reason::DestinationNotAllowed)),
        ("20.0.0.1:80", Err(Reason::PortNotAllowed)),
    ] {
        let found = decided(&policy, &Client::unlisted(), host);
        assert_eq!(found, expected.map(str::to_owned), "{host}");
    }
}

#[test]
fn a_literal_is_screened_like_any_address() {
    let policy = policy(vec![ranged("all", &[], &["0.0.0.0/0", "127.0.0.0/8"])]);
    let screened = |text: &str, address: &str| {
        permit(&policy, text)
            .screen(&[ip(address)])
            .map(|it| it.as_slice().to_vec())
            .map_err(|denial| denial.refusal.reason)
    };
    assert_eq!(screened("20.0.0.1:443", "20.0.0.1"), Ok(ips(&["20.0.0.1"])));
    assert_eq!(
        screened("127.0.0.1:443", "127.0.0.1"),
        Ok(ips(&["127.0.0.1"]))
    );
    assert_eq!(
        screened("[::ffff:127.0.0.1]:443", "::ffff:127.0.0.1"),
        Ok(ips(&["127.0.0.1"]))
    );
    for refused in ["10.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1"] {
        let text = format!("{refused}:443");
        assert_eq!(
            screened(&text, refused),
            Err(Reason::AddressNotAllowed),
            "{refused}"
        );
    }
}

#[test]
fn a_refusal_says_the_rule_in_words() {
    let policy = policy(vec![
        ranged("guarded", &["a.example.com"], &["20.0.0.0/8"]),
        destination("other", &["b.example.com"]),
    ]);
    let held = held_to("zvm-1", &["oth*"]);
    let detail = |client: &Client, text: &str| {
        let denial = policy.decide(client, &target(text), NOW).unwrap_err();
        let name = denial.destination.map(|it| it.name.to_string());
        (denial.refusal.detail.unwrap().into_owned(), name)
    };
    let anyone = Client::unlisted();
    assert_eq!(
        detail(&anyone, "c.example.com:443"),
        ("c.example.com is a host of no destination".into(), None)
    );
    assert_eq!(
        detail(&anyone, "192.0.2.1:443"),
        (
            "192.0.2.1 is in the ip_ranges of no destination".into(),
            None
        )
    );
    assert_eq!(
        detail(&anyone, "a.example.com:80"),
        (
            "destination guarded has no port 80, only 443".into(),
            Some("guarded".into())
        )
    );
    assert_eq!(
        detail(&held, "a.example.com:443"),
        (
            "client zvm-1 may reach oth* only, not guarded".into(),
            Some("guarded".into())
        )
    );
    assert_eq!(
        detail(&held_to("zvm-2", &[]), "a.example.com:443"),
        (
            "client zvm-2 may reach no destination".into(),
            Some("guarded".into())
        )
    );
    let screened = permit(&policy, "a.example.com:443")
        .screen(&ips(&["10.0.0.1", "21.0.0.1", "::ffff:127.0.0.1"]))
        .unwrap_err();
    assert_eq!(screened.destination.unwrap().name.as_ref(), "guarded");
    assert_eq!(
        screened.refusal.detail.unwrap(),
        "no address may be dialled: 10.0.0.1 (private_use), \
         21.0.0.1 (globally_reachable, outside ip_ranges), ::ffff:127.0.0.1 (loopback)"
    );
}

#[test]
fn a_long_answer_makes_no_long_record() {
    let policy = policy(vec![destination("d", &["a.example.com"])]);
    let many: Vec<IpAddr> = (0..4000_u32)
        .map(|n| IpAddr::V4((0x0a00_0000 + n).into()))
        .collect();
    let denial = permit(&policy, "a.example.com:443")
        .screen(&many)
        .unwrap_err();
    let detail = denial.refusal.detail.unwrap();
    assert!(
        detail.len() < 1000 && detail.ends_with(" and 3984 more"),
        "{detail}"
    );
}

#[test]
fn the_narrowest_source_names_the_client() {
    let policy = |unlisted| {
        let clients = vec![
            client("site", &["10.0.0.0/8", "2001:db8::/32"]),
            client("zvm", &["10.1.0.11"]),
            client("mapped", &["0.0.0.0/1"]),
        ];
        Policy::new(Rules {
            unlisted,
            ..rules(Vec::new(), clients)
        })
        .unwrap()
    };
    let admitted = |unlisted, source: &str| match policy(unlisted).admit(ip(source)) {
        Ok(client) => Ok(client.name.as_deref().unwrap_or("-").to_owned()),
        Err(refusal) => Err(refusal.reason),
    };
    for (source, expected) in [
        ("10.1.0.11", "zvm"),
        ("::ffff:10.1.0.11", "zvm"),
        ("10.1.0.12", "site"),
        ("2001:db8::1", "site"),
        ("1.1.1.1", "mapped"),
    ] {
        for unlisted in [Unlisted::Deny, Unlisted::Private, Unlisted::Any] {
            assert_eq!(admitted(unlisted, source), Ok(expected.into()), "{source}");
        }
    }
    let refused = Err(Reason::ClientNotAllowed);
    for (source, private) in [
        ("172.16.0.1", true),
        ("172.32.0.1", false),
        ("192.168.1.1", true),
        ("::ffff:192.168.1.1", true),
        ("169.254.7.7", true),
        ("192.169.0.1", false),
        ("128.0.0.1", false),
        ("::1", true),
        ("fd00::1", true),
        ("fe80::1", true),
        ("fec0::1", false),
        ("2600::1", false),
        ("2002:a00:1::", false),
        ("64:ff9b::10.0.0.1", false),
    ] {
        let expected = if private {
            Ok("-".into())
        } else {
            refused.clone()
        };
        assert_eq!(admitted(Unlisted::Private, source), expected, "{source}");
        assert_eq!(admitted(Unlisted::Deny, source), refused, "{source}");
        assert_eq!(admitted(Unlisted::Any, source), Ok("-".into()), "{source}");
    }
}

#[test]
fn what_is_permitted_survives_a_mix_in_order_and_once() {
    let policy = policy(vec![destination("d", &["a.example.com"])]);
    let permit = permit(&policy, "a.example.com:443");
    let mix = ips(&[
        "10.0.0.1",
        "2600::1",
        "20.0.0.1",
        "::ffff:20.0.0.1",
        "64:ff9b::20.0.0.1",
        "64:ff9b::10.0.0.1",
        "2600::1",
        "20.0.0.2",
        "2002:1400:1::",
    ]);
    let permitted = permit.screen(&mix).unwrap();
    assert_eq!(
        permitted.as_slice(),
        ips(&["2600::1", "20.0.0.1", "64:ff9b::20.0.0.1", "20.0.0.2"])
    );
    assert!(permitted.enforced());
    let none = permit.screen(&[]).unwrap_err();
    assert_eq!(none.refusal.reason, Reason::AddressNotAllowed);
    assert_eq!(none.refusal.detail.unwrap(), "a.example.com has no address");
}

#[test]
fn a_special_address_needs_a_range_inside_its_block() {
    let screens = |ranges: &[&str], address: &str| {
        let policy = policy(vec![ranged("d", &["a.example.com"], ranges)]);
        permit(&policy, "a.example.com:443")
            .screen(&[ip(address)])
            .is_ok()
    };
    assert!(screens(&["10.0.0.0/8"], "10.0.0.1"));
    assert!(screens(&["10.1.0.0/16"], "10.1.0.1"));
    assert!(!screens(&["10.1.0.0/16"], "10.2.0.1"));
    assert!(screens(&["127.0.0.0/8"], "127.0.0.1"));
    assert!(screens(&["::1/128"], "::1"));
    assert!(screens(&["fd00::/8"], "fd00::1"));
    assert!(screens(&["0.0.0.0/0", "10.0.0.0/8"], "10.0.0.1"));
    assert!(screens(&["10.0.0.0/8"], "::ffff:10.0.0.1"));
    assert!(screens(&["10.0.0.0/8"], "64:ff9b::10.0.0.1"));
    assert!(screens(&["0.0.0.0/0"], "20.0.0.1"));
    for wider in ["0.0.0.0/0", "8.0.0.0/6", "10.0.0.0/7"] {
        assert!(!screens(&[wider], "10.0.0.1"), "{wider}");
    }
    assert!(!screens(&["172.0.0.0/8"], "172.16.0.1"));
    assert!(!screens(&["::/0"], "fd00::1"));
    assert!(!screens(&["::/0"], "::1"));
    assert!(!screens(&["::/0"], "10.0.0.1"));
    // Metadata services are inside blocks that a range may open.
    assert!(!screens(&["169.254.0.0/16"], "169.254.169.254"));
    assert!(!screens(&["fd00::/8"], "fd00:ec2::254"));
    assert!(!screens(&["100.64.0.0/10"], "64:ff9b::100.100.100.200"));
    assert!(!screens(&["2001::/23"], "2001::1"));
}

#[test]
fn static_addresses_are_for_names_only() {
    let with_addresses = Destination {
        addresses: Some(ips(&["20.0.0.1"])),
        ..ranged("d", &["a.example.com"], &["20.0.0.0/8"])
    };
    let policy = policy(vec![with_addresses]);
    let name = permit(&policy, "a.example.com:443");
    assert_eq!(name.static_addresses(), Some(&ips(&["20.0.0.1"])[..]));
    assert_eq!(permit(&policy, "20.0.0.2:443").static_addresses(), None);
}

#[test]
fn report_only_lets_unknown_names_through_and_ends_by_itself() {
    let other = Destination {
        ports: vec![8443],
        ..destination("other", &["b.example.com"])
    };
    let policy = report_only(vec![destination("d", &["a.example.com"]), other]);
    let anyone = Client::unlisted();
    assert_eq!(
        decided(&policy, &anyone, "new.example.org:443"),
        Ok("-".into())
    );
    assert_eq!(
        decided(&policy, &anyone, "new.example.org:8443"),
        Ok("-".into())
    );
    for (client, text, reason) in [
        (&anyone, "new.example.org:80", Reason::PortNotAllowed),
        (&anyone, "a.example.com:8443", Reason::PortNotAllowed),
        (&anyone, "20.0.0.1:443", Reason::DestinationNotAllowed),
        (
            &held_to("zvm", &["d"]),
            "new.example.org:443",
            Reason::DestinationNotAllowed,
        ),
        (
            &held_to("zvm", &["other"]),
            "a.example.com:443",
            Reason::DestinationNotAllowed,
        ),
    ] {
        assert_eq!(decided(&policy, client, text), Err(reason), "{text}");
    }
    let unknown = permit(&policy, "new.example.org:443");
    assert!(!unknown.enforced() && unknown.reads_client_hello());
    let permitted = unknown.screen(&ips(&["10.0.0.1", "20.0.0.1"])).unwrap();
    assert_eq!(permitted.as_slice(), ips(&["20.0.0.1"]));
    assert!(!permitted.enforced());
    assert!(unknown.screen(&ips(&["10.0.0.1"])).is_err());
    assert!(unknown.check_server_name(&host("new.example.org")).is_ok());
    assert_eq!(
        unknown.check_server_name(&host("a.example.com")),
        Err(Reason::SniMismatch)
    );
    assert_eq!(
        unknown.check_server_name(&ServerName::Absent),
        Err(Reason::SniMissing)
    );
    let over = policy.decide(&anyone, &target("new.example.org:443"), LATER);
    assert_eq!(
        over.unwrap_err().refusal.reason,
        Reason::DestinationNotAllowed
    );
}

#[test]
fn report_only_prefers_what_enforce_would_dial() {
    let policy = report_only(vec![ranged("d", &["a.example.com"], &["20.0.0.0/8"])]);
    let screen = |addresses: &[&str], now| {
        policy
            .decide(&Client::unlisted(), &target("a.example.com:443"), now)
            .unwrap()
            .screen(&ips(addresses))
            .map(|it| (it.as_slice().to_vec(), it.enforced()))
            .map_err(|denial| denial.refusal.reason)
    };
    assert_eq!(screen(&["21.0.0.1"], NOW), Ok((ips(&["21.0.0.1"]), false)));
    assert_eq!(
        screen(&["21.0.0.1", "20.0.0.1"], NOW),
        Ok((ips(&["20.0.0.1"]), true))
    );
    assert_eq!(
        screen(&["10.0.0.1", "21.0.0.1"], NOW),
        Ok((ips(&["21.0.0.1"]), false))
    );
    assert_eq!(screen(&["10.0.0.1"], NOW), Err(Reason::AddressNotAllowed));
    assert_eq!(screen(&["21.0.0.1"], LATER), Err(Reason::AddressNotAllowed));
}

fn host(text: &str) -> ServerName {
    ServerName::Host(match text.parse() {
        Ok(address) => Host::Literal(address),
        Err(_) => Host::Name(text.parse().unwrap()),
    })
}

#[test]
fn server_names_agree_with_the_target() {
    const OK: Result<(), Reason> = Ok(());
    const MISMATCH: Result<(), Reason> = Err(Reason::SniMismatch);
    const MISSING: Result<(), Reason> = Err(Reason::SniMissing);
    let named = ranged(
        "named",
        &["a.example.com", "*.b.example.com"],
        &["20.0.0.0/8"],
    );
    let bare = ranged("bare", &[], &["21.0.0.0/8"]);
    let lenient = Destination {
        literals_without_sni: true,
        ..named.clone()
    };
    let (name, literal) = ("a.example.com:443", "20.0.0.1:443");
    let absent = ServerName::Absent;
    let invalid = ServerName::Invalid;
    // Each row has destination, target and server name, then the answers of match, if-present and
    // any.
    for (it, text, asked, expected) in [
        (&named, name, host("a.example.com"), [OK, OK, OK]),
        (&named, name, host("A.Example.com."), [OK, OK, OK]),
        (
            &named,
            name,
            host("x.b.example.com"),
            [MISMATCH, MISMATCH, OK],
        ),
        (&named, name, host("20.0.0.1"), [MISMATCH, MISMATCH, OK]),
        (&named, name, absent.clone(), [MISSING, OK, OK]),
        (&named, name, invalid.clone(), [MISMATCH, MISMATCH, OK]),
        (
            &named,
            "x.b.example.com:443",
            host("y.b.example.com"),
            [MISMATCH, MISMATCH, OK],
        ),
        (&lenient, name, absent.clone(), [MISSING, OK, OK]),
        (&named, literal, host("a.example.com"), [OK, OK, OK]),
        (&named, literal, host("x.b.example.com"), [OK, OK, OK]),
        (
            &named,
            literal,
            host("b.example.com"),
            [MISMATCH, MISMATCH, OK],
        ),
        (&named, literal, host("20.0.0.1"), [OK, OK, OK]),
        (&named, literal, host("20.0.0.2"), [MISMATCH, MISMATCH, OK]),
        (
            &named,
            "[::ffff:20.0.0.1]:443",
            host("20.0.0.1"),
            [OK, OK, OK],
        ),
        (&named, literal, absent.clone(), [MISSING, OK, OK]),
        (&named, literal, invalid.clone(), [MISMATCH, MISMATCH, OK]),
        (&lenient, literal, absent.clone(), [OK, OK, OK]),
        (
            &lenient,
            literal,
            host("c.example.com"),
            [MISMATCH, MISMATCH, OK],
        ),
        (&bare, "21.0.0.1:443", absent.clone(), [OK, OK, OK]),
        (&bare, "21.0.0.1:443", host("21.0.0.1"), [OK, OK, OK]),
        (
            &bare,
            "21.0.0.1:443",
            host("a.example.com"),
            [MISMATCH, MISMATCH, OK],
        ),
        (&bare, "21.0.0.1:443", invalid, [MISMATCH, MISMATCH, OK]),
    ] {
        for (sni, expected) in [SniRule::Match, SniRule::IfPresent, SniRule::Any]
            .into_iter()
            .zip(expected)
        {
            let policy = policy(vec![Destination { sni, ..it.clone() }]);
            let found = permit(&policy, text).check_server_name(&asked);
            assert_eq!(found, expected, "{} {text} {asked:?} {sni:?}", it.name);
        }
    }
}

#[test]
fn a_client_hello_is_read_unless_the_destination_has_no_tls() {
    let plain = Destination {
        tls_only: false,
        sni: SniRule::Any,
        ..destination("plain", &["p.example.com"])
    };
    let policy = policy(vec![plain, destination("d", &["a.example.com"])]);
    assert!(!permit(&policy, "p.example.com:443").reads_client_hello());
    assert!(permit(&policy, "a.example.com:443").reads_client_hello());
}

#[test]
fn a_policy_and_what_it_gives_out_cross_threads() {
    fn crosses<T: Send + Sync + 'static>() {}
    crosses::<Policy>();
    crosses::<Permit>();
    crosses::<PermittedAddrs>();
    crosses::<Denial>();
}

//! Mistakes in the rules: each is found, names the right entry, and comes with the way out.

use super::*;

/// Gives subject and message of the rules' first mistake.
fn mistake(rules: Rules) -> (Subject, String) {
    let error = Policy::new(rules).unwrap_err();
    (error.subject, error.message)
}

#[track_caller]
fn assert_destination(second: Destination, says: &str) {
    let first = ranged(
        "first",
        &["a.example.com", "*.example.com"],
        &["20.0.0.0/8"],
    );
    let (subject, message) = mistake(rules(vec![first, second], Vec::new()));
    assert_eq!(subject, Subject::Destination(1), "{message}");
    assert!(message.contains(says), "{message}");
}

#[track_caller]
fn assert_client(second: Client, says: &str) {
    let clients = vec![client("first", &["10.0.0.0/8", "fd00::1"]), second];
    let (subject, message) = mistake(rules(vec![destination("d", &[])], clients));
    assert_eq!(subject, Subject::Client(1), "{message}");
    assert!(message.contains(says), "{message}");
}

#[test]
fn ties_between_destinations() {
    let tie = "is also in destination \"first\"";
    assert_destination(destination("d", &["a.example.com"]), tie);
    assert_destination(destination("d", &["A.EXAMPLE.com."]), tie);
    assert_destination(destination("d", &["*.example.com"]), tie);
    assert_destination(ranged("d", &[], &["20.0.0.0/8"]), tie);
    assert_destination(ranged("d", &[], &["20.1.2.3/8"]), tie);
    assert_destination(destination("first", &[]), "two destinations \"first\"");
    // Only the vendor's entries can be replaced by name.
    let preset = Destination {
        origin: Origin::Preset {
            confirmed: true,
            source: "documentation".into(),
        },
        ..destination("vendor", &["a.example.com"])
    };
    let replace = "or give both the same name";
    assert_destination(preset, replace);
    let sites = vec![
        destination("one", &["a.example.com"]),
        destination("two", &["a.example.com"]),
    ];
    assert!(!mistake(rules(sites, Vec::new())).1.contains(replace));
}

#[test]
fn what_is_not_a_tie() {
    let destinations = vec![
        ranged(
            "a",
            &["a.example.com", "a.example.com"],
            &["20.0.0.0/8", "20.0.0.0/8"],
        ),
        ranged("b", &["*.a.example.com", "*.example.com"], &["20.0.0.0/9"]),
        ranged("c", &["example.com"], &["21.0.0.0/8"]),
    ];
    let clients = vec![
        client("a", &["10.0.0.0/8", "10.0.0.0/8"]),
        client("b", &["10.0.0.0/9"]),
        Client {
            destinations: Some(Vec::new()),
            ..client("c", &["::/0"])
        },
    ];
    Policy::new(rules(destinations, clients)).unwrap();
    Policy::new(rules(Vec::new(), Vec::new())).unwrap();
}

#[test]
fn empty_lists_and_bad_combinations() {
    let plain = || destination("d", &["d.example.org"]);
    assert_destination(
        Destination {
            ports: vec![],
            ..plain()
        },
        "`ports` is empty",
    );
    assert_destination(
        Destination {
            ports: vec![443, 0],
            ..plain()
        },
        "0 is no port",
    );
    assert_destination(
        ranged("d", &[], &[]),
        "`ip_ranges` is empty: remove the key",
    );
    assert_destination(
        Destination {
            addresses: Some(vec![]),
            ..plain()
        },
        "`addresses` is empty: remove the key",
    );
    for sni in [SniRule::Match, SniRule::IfPresent] {
        assert_destination(
            Destination {
                tls_only: false,
                sni,
                ..plain()
            },
            "add sni = \"any\"",
        );
    }
}

#[test]
fn ranges_that_can_allow_nothing() {
    for (range, says) in [
        ("0.0.0.0/8", "can never be allowed"),
        ("0.0.0.0/32", "can never be allowed"),
        ("224.0.0.0/4", "can never be allowed"),
        ("239.1.0.0/16", "can never be allowed"),
        ("255.255.255.255/32", "can never be allowed"),
        ("169.254.169.254/32", "can never be allowed"),
        ("168.63.129.16/32", "can never be allowed"),
        ("::/128", "can never be allowed"),
        ("::/96", "can never be allowed"),
        ("2001::/32", "can never be allowed"),
        ("2002::/16", "can never be allowed"),
        ("2002:1400::/24", "can never be allowed"),
        ("ff00::/8", "can never be allowed"),
        ("fd00:ec2::254/128", "can never be allowed"),
        ("::ffff:0:0/96", "write the IPv4 range"),
        ("::ffff:20.1.0.0/112", "write the IPv4 range"),
        ("64:ff9b::/96", "write the IPv4 range"),
        ("64:ff9b:1::/48", "write the IPv4 range"),
        ("4000::/3", "outside 2000::/3"),
        ("f000::/4", "outside 2000::/3"),
    ] {
        assert_destination(ranged("d", &[], &["21.0.0.0/8", range]), says);
    }
    for fine in [
        "0.0.0.0/0",
        "::/0",
        "2000::/3",
        "127.0.0.0/8",
        "fd00::/8",
        "169.254.0.0/16",
    ] {
        policy(vec![ranged("d", &[], &[fine])]);
    }
}

#[test]
fn static_addresses_are_screened_when_read() {
    let given = |addresses: &[&str], ranges: Option<&[&str]>| Destination {
        addresses: Some(ips(addresses)),
        ip_ranges: ranges.map(|ranges| ranges.iter().map(|it| net(it)).collect()),
        ..destination("d", &["d.example.org"])
    };
    policy(vec![given(&["20.0.0.1", "2600::1"], None)]);
    policy(vec![given(
        &["10.0.0.1", "::ffff:10.0.0.2"],
        Some(&["10.0.0.0/24"]),
    )]);
    assert_destination(
        given(&["20.0.0.1", "10.0.0.1"], None),
        "lies inside 10.0.0.0/8",
    );
    assert_destination(
        given(&["10.0.0.1"], Some(&["0.0.0.0/0"])),
        "lies inside 10.0.0.0/8",
    );
    assert_destination(
        given(&["22.0.0.1"], Some(&["21.0.0.0/8"])),
        "in none of the `ip_ranges`",
    );
    assert_destination(given(&["169.254.169.254"], None), "can never be dialled");
    assert_destination(given(&["4000::1"], None), "can never be dialled");
    // Report-only is for what DNS says, not for what the file says.
    let (subject, _) = mistake(Rules {
        mode: Enforcement::ReportOnly { until: LATER },
        ..rules(
            vec![given(&["22.0.0.1"], Some(&["21.0.0.0/8"]))],
            Vec::new(),
        )
    });
    assert_eq!(subject, Subject::Destination(0));
}

#[test]
fn clients() {
    assert_client(
        client("second", &["10.0.0.0/8"]),
        "also a source of client \"first\"",
    );
    assert_client(
        client("second", &["fd00::1"]),
        "also a source of client \"first\"",
    );
    assert_client(client("first", &["11.0.0.0/8"]), "two clients \"first\"");
    assert_client(client("second", &[]), "`sources` is empty");
    assert_client(
        client("second", &["::ffff:10.0.0.0/104"]),
        "write it as IPv4",
    );
    assert_client(
        Client {
            name: None,
            ..client("second", &["11.0.0.0/8"])
        },
        "needs a name",
    );
    assert_client(
        held_to("second", &["d", "zerto-*"]),
        "\"zerto-*\" is the name of no destination",
    );
}

#[test]
fn nat64_prefixes() {
    let with = |prefix: &str| Rules {
        nat64_prefixes: vec![prefix.parse().unwrap()],
        ..rules(Vec::new(), Vec::new())
    };
    for fine in [
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "64:ff9b:1:fffe::/96",
        "2600:1::/32",
        "fd64::/64",
    ] {
        Policy::new(with(fine)).unwrap();
    }
    for (prefix, says) in [
        ("2600::/33", "use /32, /40"),
        ("2600::/72", "use /32, /40"),
        ("::/0", "use /32, /40"),
        ("2600::1/128", "use /32, /40"),
        ("2001::/32", "TEREDO"),
        ("2002:1400::/40", "6to4"),
        ("::/32", "overlaps"),
        ("::ffff:0:0/96", "IPv4-mapped"),
        ("fd00:ec2::/32", "Instance metadata"),
        ("ff0e::/32", "Multicast"),
    ] {
        let (subject, message) = mistake(with(prefix));
        assert_eq!(subject, Subject::Policy);
        assert!(message.contains(says), "{message}");
    }
    // Behind the prefix, only the IPv4 form of a range matches anything.
    let (_, message) = mistake(Rules {
        destinations: vec![ranged("d", &[], &["2600:1:a00::/40"])],
        ..with("2600:1::/32")
    });
    assert!(message.contains("write the IPv4 range"), "{message}");
}

#[test]
fn host_patterns() {
    for (given, shown) in [
        ("A.Example.com.", "a.example.com"),
        ("*.Example.com", "*.example.com"),
        ("localhost", "localhost"),
    ] {
        assert_eq!(given.parse::<HostPattern>().unwrap().to_string(), shown);
    }
    for bad in [
        "*",
        "*.com",
        "*.com.",
        "*example.com",
        "**.example.com",
        "*.*.example.com",
    ] {
        assert_eq!(
            bad.parse::<HostPattern>(),
            Err(PatternError::Wildcard),
            "{bad}"
        );
    }
    for bad in [
        "",
        "*.",
        "a.*.example.com",
        "ec2*.example.com",
        "192.0.2.1",
        "[::1]",
        "a b",
        "*.1.2",
    ] {
        let error = bad.parse::<HostPattern>().unwrap_err();
        assert!(matches!(error, PatternError::Host(_)), "{bad}: {error}");
    }
}

//! `zvm setup`: what a person pastes, and how the relay answers if it was the wrong thing.

use tree_sitter::{Node, Parser, Tree};

use crate::support::command::{Ran, Serving, run};

use super::serve::DENIED;

const RELAY: &str = "relay.dmz.example:3128";

#[test]
fn the_commands_are_there_to_be_pasted_the_script_first() {
    let ran = setup(RELAY, "text");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    // A line to paste begins at the margin, so that selecting it whole copies only the command.
    let lines: Vec<&str> = ran.stdout.lines().collect();
    let place = |wanted: &str| {
        let place = lines.iter().position(|line| *line == wanted);
        place.unwrap_or_else(|| panic!("no line {wanted:?} in {}", ran.stdout))
    };
    let script = place(
        "bitsadmin /util /setieproxy localservice AUTOSCRIPT http://relay.dmz.example:3128/proxy.pac",
    );
    let read = place("bitsadmin /util /getieproxy localservice");
    let undo = place("bitsadmin /util /setieproxy localservice RESET");
    let manual =
        place("bitsadmin /util /setieproxy localservice MANUAL_PROXY relay.dmz.example:3128 NULL");
    assert!(script < read && read < undo && undo < manual);
    let why = lines[undo..manual].join(" ");
    for part in ["vCenter", "peer ZVMs", "bypass list", "refuses"] {
        assert!(why.contains(part), "{part} in {why}");
    }
    place("https_proxy=http://relay.dmz.example:3128");
    assert!(ran.stdout.contains("NOT DOCUMENTED BY THE VENDOR"));
    place("curl -v -x http://relay.dmz.example:3128 https://ch3.zerto.com/");
    assert!(
        ran.stdout
            .contains("on the relay's list: autologs.zerto.com for Zerto <9.0.")
    );
}

#[test]
fn every_source_that_is_named_is_listed() {
    let text = setup(RELAY, "text").stdout;
    let (body, sources) = text.split_once("Sources\n=======\n").unwrap();
    for number in 1..=4 {
        assert!(sources.contains(&format!("[{number}] ")), "{sources}");
    }
    assert!(!sources.contains("[5]"));
    for number in 1..=4 {
        assert!(body.contains(&format!("[{number}]")), "{number}");
    }
}

/// PowerShell 5.1 reads a file without a byte order mark in the machine's code page, and so does a
/// console.
#[test]
fn all_of_it_is_ascii_and_filled_in() {
    for relay in [RELAY, "192.0.2.1:3128", "[2001:db8::1]:8080"] {
        for format in ["text", "powershell"] {
            let text = setup(relay, format).stdout;
            assert!(text.is_ascii());
            assert!(!text.contains('@') || format == "powershell", "{text}");
            for placeholder in ["@RELAY@", "@HOST@", "@OTHERS@"] {
                assert!(!text.contains(placeholder), "{placeholder} in {text}");
            }
            assert!(text.contains(&format!("http://{relay}/proxy.pac")));
        }
    }
}

#[test]
fn what_is_no_place_of_a_relay_is_printed_nowhere() {
    for relay in [
        "relay.dmz.example",
        ":3128",
        "relay.dmz.example:0",
        "http://relay.dmz.example:3128",
        "relay:3128 NULL & calc.exe",
        "relay'; Remove-Item C:\\; ':3128",
        "relay\"$(calc)\":3128",
        "relay`n:3128",
        "relay%COMSPEC%:3128",
        "relay:3128\nbitsadmin",
        "user:password@relay:3128",
        "r\u{e9}lais.example:3128",
        "",
    ] {
        for format in ["text", "powershell"] {
            let ran = setup(relay, format);
            assert_eq!(ran.code, Some(2), "{relay:?}");
            assert_eq!(ran.stdout, "", "{relay:?}");
        }
    }
}

#[test]
fn the_powershell_is_well_formed() {
    for relay in [RELAY, "[2001:db8::1]:8080"] {
        let script = setup(relay, "powershell").stdout;
        let tree = parse(&script);
        assert!(!tree.root_node().has_error(), "{}", tree.root_node());
    }
    // The grammar would notice a mistake.
    let script = setup(RELAY, "powershell").stdout;
    for (sound, broken) in [
        ("if ($PS", "if $PS"),
        ("'RESET' }", "'RESET' "),
        ("@(", "@(("),
    ] {
        assert!(script.contains(sound));
        let broken = script.replacen(sound, broken, 1);
        assert!(parse(&broken).root_node().has_error(), "{broken}");
    }
}

/// With `-WhatIf` nothing is set: the only call that sets is inside the only `if` that asks.
#[test]
fn the_powershell_changes_nothing_without_asking() {
    let script = setup(RELAY, "powershell").stdout;
    assert!(script.contains("[CmdletBinding(SupportsShouldProcess)]"));
    let tree = parse(&script);
    let mut asking = Vec::new();
    let mut calls = Vec::new();
    walk(tree.root_node(), &mut |node| {
        let text = &script[node.byte_range()];
        match node.kind() {
            "if_statement" if text.contains("ShouldProcess") => asking.push(node.byte_range()),
            "command" => calls.push((text.trim().to_owned(), node.start_byte())),
            _ => {}
        }
    });
    let [asking] = asking.as_slice() else {
        panic!("{asking:?}");
    };
    let outside: Vec<_> = calls
        .iter()
        .filter(|(_, at)| !asking.contains(at))
        .map(|(call, _)| call.as_str())
        .collect();
    let inside: Vec<_> = calls
        .iter()
        .filter(|(_, at)| asking.contains(at))
        .map(|(call, _)| call.as_str())
        .collect();
    assert_eq!(inside, ["Invoke-BitsAdmin -Arguments $set"]);
    assert_eq!(
        outside,
        [
            "Set-StrictMode -Version Latest",
            "& bitsadmin.exe @Arguments",
            "Invoke-BitsAdmin -Arguments @('/util', '/getieproxy', 'localservice')"
        ]
    );
}

/// `MANUAL_PROXY` invites this mistake, which the relay sees as follows.
#[test]
fn a_client_without_a_bypass_list_is_named_once() {
    const HINT: &str = "its bypass list is missing";
    let relay = Serving::start("");
    for target in ["www.example.com:443", "203.0.113.7:443", "ch3.zerto.com:22"] {
        assert!(relay.connect(target).0.contains(" 403 "), "{target}");
    }
    relay.reload("", "configuration loaded");
    assert!(!relay.log().contains(HINT), "{}", relay.log());

    for target in ["vcenter:443", "vcenter.corp.local:443", "10.20.0.5:9669"] {
        assert_eq!(relay.connect(target).0, DENIED);
    }
    relay.wait_for(HINT);
    // This line follows what is written about the three commands.
    relay.reload("[no-such-table]\n", "the configuration stays as it was");
    let log = relay.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains(HINT)).collect();
    let [line] = lines.as_slice() else {
        panic!("{log}");
    };
    assert!(
        line.contains("127.0.0.1") && line.contains("vcenter"),
        "{line}"
    );
}

fn setup(relay: &str, format: &str) -> Ran {
    run(&["zvm", "setup", "--relay", relay, "--format", format])
}

fn parse(script: &str) -> Tree {
    let mut parser = Parser::new();
    parser
        .set_language(&tree_sitter_powershell::LANGUAGE.into())
        .unwrap();
    parser.parse(script, None).unwrap()
}

fn walk(node: Node<'_>, visit: &mut impl FnMut(Node<'_>)) {
    visit(node);
    let mut cursor = node.walk();
    for child in node.children(&mut cursor) {
        walk(child, visit);
    }
}

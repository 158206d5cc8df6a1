//! A proxy auto-configuration file: it tells a client which hosts to ask the relay for, and which
//! to reach directly.
//!
//! The file is JavaScript of the oldest kind, because old systems have old engines. It compares
//! text and calls no function of the format. Those that resolve names would make a client wait for
//! answers about names that only the relay can resolve.

use std::fmt::Write as _;

use crate::authority::{Authority, DnsName};

/// A rule for which way some hosts go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule<'a> {
    pub hosts: Hosts<'a>,
    /// True if they go through the relay, false if directly.
    pub relayed: bool,
}

/// How a client speaks with the relays; the word for it in a PAC file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyType {
    Proxy,
    /// HTTP inside TLS.
    Https,
}

/// One host, or all hosts that are below a name by one or more labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hosts<'a> {
    Exact(&'a DnsName),
    Below(&'a DnsName),
}

/// Writes the file.
///
/// An exact rule decides before a rule for the names below, and a longer name before a shorter one.
/// Hosts without a rule go directly. A client tries `first`, then `more` in their order, and never
/// goes directly instead.
///
/// A rule that sends hosts directly is written only where a relayed rule would have them otherwise.
/// So a client doesn't learn the names of what others are allowed.
pub fn script<'a>(
    rules: impl IntoIterator<Item = Rule<'a>>,
    way: ProxyType,
    first: &Authority,
    more: &[Authority],
) -> String {
    let mut script = String::from(OPENING);
    // No name and no authority has a character that must be escaped in a JavaScript string. Writing
    // to a `String` doesn't fail.
    let word = match way {
        ProxyType::Proxy => "PROXY",
        ProxyType::Https => "HTTPS",
    };
    let _ = write!(script, "    var relay = \"{word} {first}");
    for relay in more {
        let _ = write!(script, "; {word} {relay}");
    }
    script += "\";\n";
    script += CANONICAL;
    for Rule { hosts, relayed } in needed(rules.into_iter().collect()) {
        let way = if relayed { "relay" } else { "\"DIRECT\"" };
        let _ = match hosts {
            Hosts::Exact(name) => writeln!(script, "    if (host === \"{name}\") return {way};"),
            Hosts::Below(name) => {
                writeln!(script, "    if (below(host, \".{name}\")) return {way};")
            }
        };
    }
    script += CLOSING;
    script
}

/// Keeps each rule that makes a difference, once, in the order in which they decide.
fn needed(mut rules: Vec<Rule<'_>>) -> Vec<Rule<'_>> {
    let relayed: Vec<&DnsName> = rules
        .iter()
        .filter_map(|rule| match rule.hosts {
            Hosts::Below(name) if rule.relayed => Some(name),
            _ => None,
        })
        .collect();
    rules.retain(|rule| {
        let (Hosts::Exact(name) | Hosts::Below(name)) = rule.hosts;
        rule.relayed || relayed.iter().any(|parent| name.is_below(parent))
    });
    rules.sort_by_key(|rule| match rule.hosts {
        Hosts::Exact(name) => (0, 0, name),
        Hosts::Below(name) => (1, usize::MAX - name.as_str().len(), name),
    });
    rules.dedup();
    rules
}

const OPENING: &str = "\
// The hosts that this relay forwards for this client go to the relay, everything else directly.
function FindProxyForURL(url, host) {
";

const CANONICAL: &str = "    \
    host = host.toLowerCase();
    if (host.charAt(host.length - 1) === \".\") host = host.substring(0, host.length - 1);
";

const CLOSING: &str = "    \
    return \"DIRECT\";
}

function below(host, parent) {
    return host.length > parent.length && host.substring(host.length - parent.length) === parent;
}
";

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(rules: &[(&str, bool)], relays: &[&str]) -> Vec<String> {
        let names: Vec<(bool, DnsName, bool)> = rules
            .iter()
            .map(|(pattern, relayed)| {
                let parent = pattern.strip_prefix("*.");
                let name = parent.unwrap_or(pattern).parse().unwrap();
                (parent.is_some(), name, *relayed)
            })
            .collect();
        let rules = names.iter().map(|(below, name, relayed)| Rule {
            hosts: if *below {
                Hosts::Below(name)
            } else {
                Hosts::Exact(name)
            },
            relayed: *relayed,
        });
        let relays: Vec<Authority> = relays.iter().map(|it| it.parse().unwrap()).collect();
        let script = script(rules, ProxyType::Proxy, &relays[0], &relays[1..]);
        let told = |line: &str| line.starts_with("if (host ===") || line.starts_with("if (below");
        script
            .lines()
            .map(str::trim)
            .filter(|line| told(line) || line.starts_with("var relay"))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn relays_keep_their_order() {
        assert_eq!(
            lines(&[], &["b.example:1", "[2001:db8::1]:3128", "192.0.2.1:80"]),
            [r#"var relay = "PROXY b.example:1; PROXY [2001:db8::1]:3128; PROXY 192.0.2.1:80";"#]
        );
    }

    #[test]
    fn the_most_specific_comes_first_and_nothing_twice() {
        let rules = [
            ("*.example.com", true),
            ("*.a.example.com", false),
            ("z.example.com", true),
            ("example.com", true),
            ("z.example.com", true),
        ];
        assert_eq!(
            lines(&rules, &["r:1"])[1..],
            [
                r#"if (host === "example.com") return relay;"#,
                r#"if (host === "z.example.com") return relay;"#,
                r#"if (below(host, ".a.example.com")) return "DIRECT";"#,
                r#"if (below(host, ".example.com")) return relay;"#,
            ]
        );
    }

    #[test]
    fn what_is_others_is_only_named_where_it_must_be() {
        let rules = [
            ("*.example.com", true),
            ("others.example.com", false),
            ("others.example.net", false),
            ("*.example.org", false),
            // A name isn't below itself.
            ("example.com", false),
        ];
        assert_eq!(
            lines(&rules, &["r:1"])[1..],
            [
                r#"if (host === "others.example.com") return "DIRECT";"#,
                r#"if (below(host, ".example.com")) return relay;"#,
            ]
        );
    }
}

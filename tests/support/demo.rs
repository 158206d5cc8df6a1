//! What `demo` prints for people.

use super::command::Ran;

/// Checks that the demo shows each step, both as a client saw it and as the trail has it.
pub(crate) fn shows_every_step(ran: &Ran) {
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.stderr, "");
    assert!(ran.stdout.contains("Nothing leaves this machine"));
    let steps = [
        ("zvm-demo", "same SHA-256", "allow zerto-billing-9"),
        ("zca-demo", "same SHA-256", "allow zerto-billing-9"),
        (
            "unlisted",
            "403 client_not_allowed",
            "deny client_not_allowed",
        ),
        (
            "zvm-demo",
            "403 destination_not_allowed",
            "deny destination_not_allowed",
        ),
        ("zvm-demo", "403 port_not_allowed", "deny port_not_allowed"),
        (
            "zvm-demo",
            "TLS alert unrecognized_name",
            "deny sni_mismatch",
        ),
        ("zvm-demo", "closed without a byte", "deny not_tls"),
    ];
    let ok: Vec<_> = ran
        .stdout
        .lines()
        .filter(|line| line.starts_with("ok "))
        .collect();
    assert_eq!(ok.len(), steps.len() + 2, "{}", ran.stdout);
    for ((machine, saw, recorded), line) in steps.into_iter().zip(&ok) {
        for part in [machine, saw, recorded] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }
    assert!(ok[7].contains("chain whole"), "{}", ok[7]);
    assert!(
        ok[8].contains("changed in a copy: broken at record"),
        "{}",
        ok[8]
    );
    assert!(ran.stdout.contains("callhome-relay serve"));
}

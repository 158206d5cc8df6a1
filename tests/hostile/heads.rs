//! Heads and targets that no honest client sends.

use crate::support::client::ask;
use crate::support::relay::{Relay, upstream};

use super::plain::{Manner, Plain};
use super::{FAST, settled};

/// Targets, and how the trail has them if it is another way. `PORT` is the allowed port. Each
/// target is a spelling of the allowed one, or of its address, that some parser somewhere repairs.
#[rustfmt::skip] // a row a case
const TARGETS: &[(&str, Option<&str>)] = &[
    ("billing.example", None),
    ("billing.example:", None),
    ("billing.example:0", None),
    ("billing.example:+PORT", None),
    ("billing.example:-PORT", None),
    ("billing.example:0PORT", None),
    ("billing.example:PORT0000", None),
    ("billing.example:PORTx", None),
    ("billing.example:0x1bb", None),
    ("billing.example:https", None),
    ("billing.example:PORT:PORT", None),
    ("billing.example:PORT,", None),
    ("billing.example:PORT/", None),
    ("billing.example:PORT#x", None),
    ("billing.example:PORT?token=S3CRET", Some("billing.example:PORT?***")),
    ("user:S3CRET@billing.example:PORT", Some("***@billing.example:PORT")),
    ("user:S3C/R?ET@billing.example:PORT", Some("***@billing.example:PORT")),
    ("billing.example:PORT@other.example:PORT", Some("***@other.example:PORT")),
    ("https://billing.example:PORT", None),
    ("//billing.example:PORT", None),
    ("/billing.example:PORT", None),
    (".billing.example:PORT", None),
    ("billing..example:PORT", None),
    ("billing.example..:PORT", None),
    ("-billing.example:PORT", None),
    ("billing-.example:PORT", None),
    ("billing_.example:PORT", None),
    ("billing%2eexample:PORT", None),
    ("billing.example%00:PORT", None),
    ("billing.example\\:PORT", Some("billing.example\\\\:PORT")),
    ("billing.example,other.example:PORT", None),
    ("*.example:PORT", None),
    ("*:PORT", None),
    (":PORT", None),
    ("[billing.example]:PORT", None),
    ("[]:PORT", None),
    ("[::1:PORT", None),
    ("::1:PORT", None),
    ("[::1]PORT", None),
    ("[::1%lo]:PORT", None),
    ("[::1%25lo]:PORT", None),
    ("[127.0.0.1]:PORT", None),
    ("[v1.x]:PORT", None),
    ("2130706433:PORT", None),
    ("0x7f000001:PORT", None),
    ("0x7f.0.0.1:PORT", None),
    ("0177.0.0.1:PORT", None),
    ("127.0.0.01:PORT", None),
    ("127.0.0.1.:PORT", None),
    ("127.1:PORT", None),
    ("127.0.0.1.1:PORT", None),
];

/// Whole heads that are no requests, and the target as the trail has it. `GOOD` is the allowed
/// target, and `REST` makes a head of a request line.
#[rustfmt::skip] // a row a case
const MALFORMED: &[(&[u8], Option<&str>)] = &[
    // Request lines
    (b"CONNECT  GOOD HTTP/1.1REST", Some(" GOOD")),
    (b"CONNECT GOOD  HTTP/1.1REST", Some("GOOD ")),
    (b"CONNECT GOOD HTTP/1.1 REST", Some("GOOD HTTP/1.1")),
    (b"CONNECT GOOD x HTTP/1.1REST", Some("GOOD x")),
    (b"CONNECT GOODREST", Some("GOOD")),
    (b"CONNECT\tGOOD HTTP/1.1REST", Some("HTTP/1.1")),
    (b"CONNECT GOOD\tHTTP/1.1REST", Some("GOOD\\x09HTTP/1.1")),
    (b"CONNECT GOOD http/1.1REST", Some("GOOD")),
    (b"CONNECT GOOD HTTP/1.10REST", Some("GOOD")),
    (b"CONNECT GOOD HTTP/1,1REST", Some("GOOD")),
    (b" CONNECT GOOD HTTP/1.1REST", Some("CONNECT GOOD")),
    (b"\r\nCONNECT GOOD HTTP/1.1REST", None),
    (b"\nCONNECT GOOD HTTP/1.1REST", None),
    (b"\xef\xbb\xbfCONNECT GOOD HTTP/1.1REST", Some("GOOD")),
    (b"C\xd0\x9eNNECT GOOD HTTP/1.1REST", Some("GOOD")),
    // Bytes that harm a program that prints them
    (b"CONNECT GOOD\x00.evil:1 HTTP/1.1REST", Some("GOOD\\x00.evil:1")),
    (b"CONNECT \x1b[2J\x1b]0;pwned\x07GOOD HTTP/1.1REST", Some("\\x1b[2J\\x1b]0;pwned\\x07GOOD")),
    (b"CONNECT GOOD\rX-Evil: HTTP/1.1REST", Some("GOOD\\x0dX-Evil:")),
    (b"CONNECT GOOD\xff\xfe HTTP/1.1REST", Some("GOOD\\xff\\xfe")),
    (b"CONNECT b\xc3\xaflling.example:443 HTTP/1.1REST", Some("b\\xc3\\xaflling.example:443")),
    (b"CONNECT \xe2\x80\xaeGOOD HTTP/1.1REST", Some("\\xe2\\x80\\xaeGOOD")),
    (b"CONNECT user:S3CR\xe4T@GOOD HTTP/1.1REST", Some("***@GOOD")),
    (b"CONNECT GOOD\x7f HTTP/1.1REST", Some("GOOD\\x7f")),
    // Line ends and fields
    (b"CONNECT GOOD HTTP/1.1\nHost: h\n\n", Some("GOOD")),
    (b"CONNECT GOOD HTTP/1.1\r\nHost: h\n\r\n", Some("GOOD")),
    (b"CONNECT GOOD HTTP/1.1\r\nHost: h\r\r\n\r\n", Some("GOOD")),
    (b"CONNECT GOOD HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n", Some("GOOD")),
    (b"CONNECT GOOD HTTP/1.1\r\n Host: h\r\n\r\n", Some("GOOD")),
    (b"CONNECT GOOD HTTP/1.1\r\nHost : h\r\n\r\n", Some("GOOD")),
    (b"CONNECT GOOD HTTP/1.1\r\nHost: h\r\nX\r\n\r\n", Some("GOOD")),
    (b"CONNECT GOOD HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n", Some("GOOD")),
    (b"CONNECT GOOD HTTP/1.1\r\nHost: h\r\nX: \x00\r\n\r\n", Some("GOOD")),
    (b"CONNECT GOOD HTTP/1.1\r\nHost: h\r\nX\x0b: y\r\n\r\n", Some("GOOD")),
    // Host fields
    (b"CONNECT GOOD HTTP/1.1\r\n\r\n", Some("GOOD")),
    (b"CONNECT GOOD HTTP/1.1\r\nHost: h\r\nhost: h\r\n\r\n", Some("GOOD")),
    (b"CONNECT GOOD HTTP/1.1\r\nHost:\r\n\r\n", Some("GOOD")),
    (b"CONNECT GOOD HTTP/1.1\r\nHost: user:S3CRET@h\r\n\r\n", Some("GOOD")),
    (b"CONNECT GOOD HTTP/1.0\r\nHost: h, h\r\n\r\n", Some("GOOD")),
    // Content, with which the first bytes of a tunnel could be confused
    (b"CONNECT GOOD HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nHELLO", Some("GOOD")),
    (b"CONNECT GOOD HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", Some("GOOD")),
    (b"CONNECT GOOD HTTP/1.1\r\nHost: h\r\nContent-Length: 0, 0\r\n\r\n", Some("GOOD")),
    (b"CONNECT GOOD HTTP/1.1\r\nHost: h\r\nContent-Length: +0\r\n\r\n", Some("GOOD")),
    (b"CONNECT GOOD HTTP/1.1\r\nHost: h\r\nContent-Length: 00\r\n\r\n", Some("GOOD")),
    (b"CONNECT GOOD HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Some("GOOD")),
    (b"CONNECT GOOD HTTP/1.0\r\ntransfer-encoding: identity\r\n\r\n", Some("GOOD")),
    // Other protocols
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", None),
    (b"\x05\x01\x00", None),
    (b"SSH-2.0-OpenSSH_9.9\r\n", None),
    (b"EHLO relay.example\r\n", Some("relay.example")),
    (b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nCONNECT GOOD HTTP/1.1REST", Some("TCP4 10.0.0.1 10.0.0.2 1")),
];

/// Heads that are refused for another reason, with status and reason.
#[rustfmt::skip] // a row a case
const OTHERS: &[(&[u8], u16, &str, Option<&str>)] = &[
    (b"CONNECT GOOD\",\"decision\":\"allow HTTP/1.1REST", 400, "malformed_target", Some("GOOD\",\"decision\":\"allow")),
    (b"connect GOOD HTTP/1.1REST", 405, "method_not_allowed", Some("GOOD")),
    (b"CONNECTX GOOD HTTP/1.1REST", 405, "method_not_allowed", Some("GOOD")),
    (b"GET http://u:S3CRET@GOOD/x?S3CRET HTTP/1.1REST", 405, "method_not_allowed", Some("http://***@GOOD/x?***")),
    (b"GET GOOD HTTP/1.1REST", 405, "method_not_allowed", Some("GOOD")),
    (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", 405, "method_not_allowed", Some("/")),
    (b"OPTIONS * HTTP/1.1REST", 405, "method_not_allowed", Some("*")),
    (b"TRACE / HTTP/1.1REST", 405, "method_not_allowed", Some("/")),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "version_not_supported", Some("*")),
    (b"CONNECT GOOD HTTP/2.0REST", 505, "version_not_supported", Some("GOOD")),
    (b"CONNECT GOOD HTTP/0.9REST", 505, "version_not_supported", Some("GOOD")),
    (b"CONNECT GOOD HTTP/1.2REST", 505, "version_not_supported", Some("GOOD")),
];

/// Against: request smuggling, getting past the list by a spelling that is repaired on the way, log
/// injection, and credentials in the trail.
#[tokio::test]
async fn nothing_malformed_is_repaired() {
    let server = Plain::start(Manner::Listens).await;
    let port = server.address.port();
    let relay = Relay::start(&format!("{}{FAST}", upstream("billing.example", port))).await;
    let good = format!("billing.example:{port}");
    let rest = format!("\r\nHost: {good}\r\nX: y\r\n\r\n");

    let mut attacks = Vec::new();
    for (target, kept) in TARGETS {
        let target = target.replace("PORT", &port.to_string());
        let kept = kept.map_or(target.clone(), |kept| {
            kept.replace("PORT", &port.to_string())
        });
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {good}\r\n\r\n").into_bytes();
        attacks.push((head, 400, "malformed_target", Some(kept), target.len()));
    }
    let malformed = MALFORMED
        .iter()
        .map(|&(head, kept)| (head, 400, "malformed_request", kept));
    for (head, status, reason, kept) in malformed.chain(OTHERS.iter().copied()) {
        let head = replace(
            &replace(head, b"GOOD", good.as_bytes()),
            b"REST",
            rest.as_bytes(),
        );
        let kept = kept.map(|kept| kept.replace("GOOD", &good));
        let length = sent_length(&head);
        attacks.push((head, status, reason, kept, length));
    }
    attacks.extend(too_large(&good));

    for (n, (head, status, reason, kept, length)) in attacks.into_iter().enumerate() {
        let sent = head[..head.len().min(300)].escape_ascii().to_string();
        let answer = ask(relay.proxy, &head).await;
        assert_eq!(
            (answer.status, answer.phrase.as_str()),
            (status, reason),
            "{sent}"
        );
        let record = relay.closing(n).await;
        assert_eq!(record["event"], "request_denied", "{sent}");
        assert_eq!(record["decision"], "deny", "{sent}");
        assert_eq!(record["reason"], reason, "{sent}");
        assert_eq!(record["target"]["raw"].as_str(), kept.as_deref(), "{sent}");
        assert_eq!(record["target"]["raw_length"], length, "{sent}");
        assert_eq!(record["target"]["host"], serde_json::Value::Null, "{sent}");
        assert!(!record.to_string().contains("S3CR"), "{record}");
    }
    settled(&relay).await;
    assert_eq!(server.connections(), 0);
}

type Attack = (Vec<u8>, u16, &'static str, Option<String>, usize);

fn too_large(good: &str) -> Vec<Attack> {
    let endless_target = format!("CONNECT {} HTTP/1.1\r\n", "a".repeat(20_000));
    let endless_field = format!("CONNECT {good} HTTP/1.1\r\nX: {}", "a".repeat(20_000));
    let endless_fields = format!("CONNECT {good} HTTP/1.1\r\n{}", "X: y\r\n".repeat(4000));
    let many_fields = format!(
        "CONNECT {good} HTTP/1.1\r\nHost: h\r\n{}\r\n",
        "X: y\r\n".repeat(101)
    );
    let long_name = format!("{}:443", ["a"; 150].join("."));
    let long_target = format!("CONNECT {long_name} HTTP/1.1\r\nHost: h\r\n\r\n");
    let limit = 16 * 1024;
    let large = "head_too_large";
    vec![
        (
            endless_target.into(),
            431,
            large,
            Some("a".repeat(256)),
            limit - "CONNECT ".len(),
        ),
        (
            endless_field.into(),
            431,
            large,
            Some(good.to_owned()),
            good.len(),
        ),
        (
            endless_fields.into(),
            431,
            large,
            Some(good.to_owned()),
            good.len(),
        ),
        (
            many_fields.into(),
            431,
            large,
            Some(good.to_owned()),
            good.len(),
        ),
        (
            long_target.into(),
            400,
            "malformed_target",
            Some(long_name[..256].to_owned()),
            long_name.len(),
        ),
    ]
}

/// Returns what is between the first and the last space of the first line. The cases have no other
/// spaces.
fn sent_length(head: &[u8]) -> usize {
    let line = head.split(|byte| *byte == b'\n').next().unwrap();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let spaces: Vec<_> = (0..line.len()).filter(|at| line[*at] == b' ').collect();
    match spaces.as_slice() {
        [] => 0,
        [only] => line.len() - only - 1,
        [first, .., last] => last - first - 1,
    }
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    match bytes.windows(from.len()).position(|window| window == from) {
        Some(at) => [&bytes[..at], to, &bytes[at + from.len()..]].concat(),
        None => bytes.to_vec(),
    }
}

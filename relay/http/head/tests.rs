//! Heads that must be taken, heads that must be refused, and each of them at every length.

use proptest::prelude::*;

use super::*;

const LIMIT: usize = 16 * 1024;

/// Reduces a refusal to what a test compares: the reason, and the target as it was sent.
fn refused(bytes: &[u8]) -> (Reason, Option<&[u8]>) {
    match parse(bytes, LIMIT) {
        HeadProgress::Refused(refusal) => (refusal.reason, raw_target(bytes)),
        other => panic!("{}: {other:?}", bytes.escape_ascii()),
    }
}

/// Checks that the parser waits until it knows, and then keeps its answer, however the bytes are
/// cut.
fn holds_for_every_prefix(bytes: &[u8], limit: usize) {
    let last = parse(bytes, limit);
    let mut decided = false;
    for length in 0..bytes.len() {
        let progress = parse(&bytes[..length], limit);
        decided |= progress != HeadProgress::Incomplete;
        if decided {
            assert_eq!(progress, last, "{}", bytes[..length].escape_ascii());
        }
    }
}

#[test]
fn takes_the_connect_of_real_clients() {
    for head in [
        // .NET Framework sends no port in Host, and Proxy-Connection until it knows that the proxy
        // speaks 1.1.
        "CONNECT ch3.zerto.com:443 HTTP/1.1\r\nHost: ch3.zerto.com\r\nProxy-Connection: Keep-Alive\r\n\r\n",
        "CONNECT ch3.zerto.com:443 HTTP/1.1\r\nUser-Agent: Zerto\r\nHost: ch3.zerto.com\r\n\r\n",
        // .NET 5 and later.
        "CONNECT ch3.zerto.com:443 HTTP/1.1\r\nHost: ch3.zerto.com:443\r\n\r\n",
        // WinHTTP.
        "CONNECT ch3.zerto.com:443 HTTP/1.0\r\nUser-Agent: Microsoft BITS/7.8\r\nHost: ch3.zerto.com:443\r\nContent-Length: 0\r\nConnection: Keep-Alive\r\nPragma: no-cache\r\n\r\n",
        // curl sends credentials without a 407.
        "CONNECT ch3.zerto.com:443 HTTP/1.1\r\nHost: ch3.zerto.com:443\r\nProxy-Authorization: Basic dTpw\r\nUser-Agent: curl/7.88.1\r\nProxy-Connection: Keep-Alive\r\n\r\n",
        // Java's HttpURLConnection.
        "CONNECT ch3.zerto.com:443 HTTP/1.1\r\nUser-Agent: Java/17.0.9\r\nHost: ch3.zerto.com\r\nAccept: text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2\r\nProxy-Connection: keep-alive\r\n\r\n",
        // Python's http.client; ncat; openssl s_client -proxy.
        "CONNECT ch3.zerto.com:443 HTTP/1.0\r\n\r\n",
        "CONNECT ch3.zerto.com:443 HTTP/1.0\r\nProxy-Authorization: Basic dTpw\r\n\r\n",
        // Go.
        "CONNECT ch3.zerto.com:443 HTTP/1.1\r\nHost: ch3.zerto.com:443\r\nUser-Agent: Go-http-client/1.1\r\n\r\n",
        // Node's agents.
        "CONNECT ch3.zerto.com:443 HTTP/1.1\r\nhost: ch3.zerto.com:443\r\nconnection: close\r\n\r\n",
        "CONNECT ch3.zerto.com:443 HTTP/1.1\r\nProxy-Connection: close\r\nHost: ch3.zerto.com\r\nConnection: close\r\n\r\n",
        // Field names come in any case, values with and without space around them, an empty value,
        // and bytes over ASCII.
        "CONNECT CH3.Zerto.COM.:443 HTTP/1.1\r\nhOsT:\t ch3.zerto.com \r\nX-Empty:\r\nX-Tab: a\tb\r\nX-Name: b\u{fc}cher\r\n\r\n",
        // Host and target differ, and the target decides.
        "CONNECT ch3.zerto.com:443 HTTP/1.1\r\nHost: other.example\r\n\r\n",
        // This head once made a peer free its memory twice.
        "CONNECT ch3.zerto.com:443 HTTP/1.1\r\nHost: h\r\nConnection: connection\r\nProxy-Connection: proxy-connection\r\n\r\n",
    ] {
        let expected: Authority = "ch3.zerto.com:443".parse().unwrap();
        let mut bytes = head.as_bytes().to_vec();
        bytes.extend(b"\x16\x03\x01 early data");
        match parse(&bytes, LIMIT) {
            HeadProgress::Complete(found) => {
                assert_eq!(found.request, Request::Connect(expected), "{head}");
                assert_eq!(found.length, head.len(), "{head}");
                let raw = raw_target(&bytes).unwrap();
                assert!(raw.eq_ignore_ascii_case(b"ch3.zerto.com:443") || raw.ends_with(b".:443"));
            }
            other => panic!("{head}: {other:?}"),
        }
        holds_for_every_prefix(&bytes, LIMIT);
        assert_eq!(
            parse(&bytes[..head.len() - 1], LIMIT),
            HeadProgress::Incomplete,
            "{head}"
        );
    }
}

#[test]
fn takes_a_request_for_its_own_pages() {
    for head in [
        "GET / HTTP/1.1\r\nHost: relay.dmz.example:3128\r\n\r\n",
        "HEAD / HTTP/1.0\r\n\r\n",
        "GET /proxy.pac HTTP/1.1\r\nHost: 192.0.2.1\r\nContent-Length: 0\r\n\r\n",
        "GET /a/%7e?b=c&d=/?:@!$'()*+,; HTTP/1.1\r\nHost: [::1]:3128\r\nAccept: */*\r\n\r\n",
    ] {
        match parse(head.as_bytes(), LIMIT) {
            HeadProgress::Complete(found) => {
                assert_eq!(found.request, Request::Local, "{head}");
                assert!(raw_target(head.as_bytes()).unwrap().starts_with(b"/"));
            }
            other => panic!("{head}: {other:?}"),
        }
        holds_for_every_prefix(head.as_bytes(), LIMIT);
    }
}

/// Every row is a whole head that some parser takes, or took.
const MALFORMED: &[&[u8]] = &[
    // Line ends.
    b"\r\nCONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n",
    b"\nCONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n",
    b"\rCONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\nHost: h\n\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\rX: y\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\rHost: h\r\r",
    b"CONNECT h:443 HTTP/1.1\r\r\nHost: h\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\r\n\r\n",
    // The request line.
    b"CONNECT  h:443 HTTP/1.1\r\nHost: h\r\n\r\n",
    b"CONNECT h:443  HTTP/1.1\r\nHost: h\r\n\r\n",
    b"CONNECT\th:443\tHTTP/1.1\r\nHost: h\r\n\r\n",
    b"CONNECT h:443\tHTTP/1.1\r\nHost: h\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1 \r\nHost: h\r\n\r\n",
    b" CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n",
    b" http://x/ HTTP/1.1\r\nHost: h\r\n\r\n",
    b"CONNECT h:443 h:444 HTTP/1.1\r\nHost: h\r\n\r\n",
    b"CONNECT h:443\r\n\r\n",
    b"GET /\r\n",
    b"CONNECT\r\nHost: h\r\n\r\n",
    b"CONNECT HTTP/1.1\r\nHost: h\r\n\r\n",
    b"CONNECT h:443 http/1.1\r\nHost: h\r\n\r\n",
    b"CONNECT h:443 HTTP/1\r\nHost: h\r\n\r\n",
    b"CONNECT h:443 HTTP/11\r\nHost: h\r\n\r\n",
    b"CONNECT h:443 HTTP/1.10\r\nHost: h\r\n\r\n",
    b"CONNECT h:443 HTTP/+1.1\r\nHost: h\r\n\r\n",
    b"CONNECT h:443 HTTPS/1.1\r\nHost: h\r\n\r\n",
    b"CONNECT h:443 ICAP/1.0\r\nHost: h\r\n\r\n",
    b"CON[NECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n",
    b"CONNECT\x00 h:443 HTTP/1.1\r\nHost: h\r\n\r\n",
    b"CONNECT h\x00.example:443 HTTP/1.1\r\nHost: h\r\n\r\n",
    b"CONNECT h\x7f:443 HTTP/1.1\r\nHost: h\r\n\r\n",
    b"CONNECT b\xc3\xbccher.example:443 HTTP/1.1\r\nHost: h\r\n\r\n",
    // Field lines.
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nContent-Length : 5\r\n\r\nhello",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nContent-Length\t: 0\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\n: empty\r\nHost: h\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n:\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nnocolon\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\n Host: h\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nX: a\r\n\tfolded\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n \r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nX: a\x00b\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nX: a\x0bb\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nX: a\x7fb\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nX\x00Y: a\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nX(Y): a\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nX\xff: a\r\n\r\n",
    // Host.
    b"CONNECT h:443 HTTP/1.1\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost:\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nhOST: i\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h, i\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: u@h\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: http://h/\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h:99999\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\xff\r\n\r\n",
    b"CONNECT h:443 HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n",
    b"CONNECT h:443 HTTP/1.0\r\nHost: a b\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    // Content on a CONNECT.
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nContent-Length: +0\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nContent-Length: -0\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nContent-Length: 00\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nContent-Length: 0, 0\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nContent-Length: 0x0\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\ncontent-length: 5\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551616\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\ntransfer-encoding: Chunked\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"CONNECT h:443 HTTP/1.0\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
    // Syntax comes before the target and the method.
    b"CONNECT /x HTTP/1.1\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: h\r\nbad line\r\n\r\n",
    // Other protocols.
    b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n",
    b"SSH-2.0-Go\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\x80\x2e\x01\x00\x02",
    b"\x05\x01\x00",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
    b"\r\n\r\n\x00\r\nQUIT\n",
];

#[test]
fn refuses_what_is_malformed() {
    for head in MALFORMED {
        let (reason, _) = refused(head);
        assert_eq!(reason, Reason::MalformedRequest, "{}", head.escape_ascii());
        holds_for_every_prefix(head, LIMIT);
    }
}

/// Each row is a head, the reason, and the target that the trail gets.
const REFUSED: &[(&str, Reason, &str)] = &[
    (
        "CONNECT /x HTTP/1.1\r\nHost: h\r\n\r\n",
        Reason::MalformedTarget,
        "/x",
    ),
    (
        "CONNECT h HTTP/1.1\r\nHost: h\r\n\r\n",
        Reason::MalformedTarget,
        "h",
    ),
    (
        "CONNECT http://h/ HTTP/1.1\r\nHost: h\r\n\r\n",
        Reason::MalformedTarget,
        "http://h/",
    ),
    (
        "CONNECT u:p@h:443 HTTP/1.1\r\nHost: h\r\n\r\n",
        Reason::MalformedTarget,
        "u:p@h:443",
    ),
    (
        "CONNECT h#x:443 HTTP/1.1\r\nHost: h\r\n\r\n",
        Reason::MalformedTarget,
        "h#x:443",
    ),
    (
        "CONNECT h%zz:443 HTTP/1.1\r\nHost: h\r\n\r\n",
        Reason::MalformedTarget,
        "h%zz:443",
    ),
    (
        "CONNECT [h.example]:443 HTTP/1.1\r\nHost: h\r\n\r\n",
        Reason::MalformedTarget,
        "[h.example]:443",
    ),
    (
        "CONNECT h:99999 HTTP/1.0\r\n\r\n",
        Reason::MalformedTarget,
        "h:99999",
    ),
    ("CONNECT * HTTP/1.0\r\n\r\n", Reason::MalformedTarget, "*"),
    (
        "GET /#x HTTP/1.1\r\nHost: h\r\n\r\n",
        Reason::MalformedTarget,
        "/#x",
    ),
    (
        "GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n",
        Reason::MalformedTarget,
        "/%zz",
    ),
    (
        "HEAD /\"x\" HTTP/1.1\r\nHost: h\r\n\r\n",
        Reason::MalformedTarget,
        "/\"x\"",
    ),
    // A browser takes the relay for a plain proxy, with content on the way.
    (
        "GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n",
        Reason::MethodNotAllowed,
        "http://h/",
    ),
    (
        "POST http://h/?q HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
        Reason::MethodNotAllowed,
        "http://h/?q",
    ),
    (
        "PUT http://h/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Reason::MethodNotAllowed,
        "http://h/",
    ),
    (
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        Reason::MethodNotAllowed,
        "/",
    ),
    (
        "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
        Reason::MethodNotAllowed,
        "/",
    ),
    (
        "GET h:443 HTTP/1.1\r\nHost: h\r\n\r\n",
        Reason::MethodNotAllowed,
        "h:443",
    ),
    (
        "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
        Reason::MethodNotAllowed,
        "*",
    ),
    (
        "TRACE / HTTP/1.1\r\nHost: h\r\n\r\n",
        Reason::MethodNotAllowed,
        "/",
    ),
    (
        "get / HTTP/1.1\r\nHost: h\r\n\r\n",
        Reason::MethodNotAllowed,
        "/",
    ),
    (
        "connect h:443 HTTP/1.1\r\nHost: h\r\n\r\n",
        Reason::MethodNotAllowed,
        "h:443",
    ),
    (
        "CONNECTX h:443 HTTP/1.1\r\nHost: h\r\n\r\n",
        Reason::MethodNotAllowed,
        "h:443",
    ),
    (
        "!#$%&'*+-.^_`|~ / HTTP/1.1\r\nHost: h\r\n\r\n",
        Reason::MethodNotAllowed,
        "/",
    ),
    (
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        Reason::VersionNotSupported,
        "*",
    ),
    (
        "CONNECT h:443 HTTP/2.0\r\nHost: h\r\n\r\n",
        Reason::VersionNotSupported,
        "h:443",
    ),
    (
        "CONNECT h:443 HTTP/1.2\r\nHost: h\r\n\r\n",
        Reason::VersionNotSupported,
        "h:443",
    ),
    ("GET / HTTP/0.9\r\n\r\n", Reason::VersionNotSupported, "/"),
    ("GET / HTTP/3.0\r\n\r\n", Reason::VersionNotSupported, "/"),
];

#[test]
fn refuses_by_reason() {
    for &(head, reason, target) in REFUSED {
        assert_eq!(
            refused(head.as_bytes()),
            (reason, Some(target.as_bytes())),
            "{head}"
        );
        holds_for_every_prefix(head.as_bytes(), LIMIT);
    }
}

#[test]
fn the_detail_of_a_malformed_target_is_the_rule_it_breaks() {
    let head = b"CONNECT h.example HTTP/1.0\r\n\r\n";
    let HeadProgress::Refused(refusal) = parse(head, LIMIT) else {
        panic!("taken");
    };
    let rule = Authority::parse(b"h.example").unwrap_err().to_string();
    assert_eq!(refusal.detail.as_deref(), Some(rule.as_str()));
}

#[test]
fn what_is_no_http_is_refused_at_its_first_wrong_byte() {
    for (bytes, wrong) in [
        (&b"\x16\x03\x01\x02\x00"[..], 1),
        (b"\x80\x2e\x01", 1),
        (b"\x05\x01\x00", 1),
        (b"\n", 1),
        (b"\r\n", 2),
        (b" GET / HTTP/1.1\r\n", 1),
        (b"SSH-2.0-Go\r\n", 12),
        (b"CONNECT h\x00:443", 10),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 16),
        (b"GET /\r\n", 7),
        (b"CONNECT h:443 HTTP/1.1\n", 23),
        (b"CONNECT h:443 HTTP/1.1\r\nX: a\n", 29),
        (b"CONNECT h:443 HTTP/1.1\r\nX: a\r\n b", 31),
    ] {
        let text = bytes.escape_ascii();
        assert!(
            matches!(parse(&bytes[..wrong], LIMIT), HeadProgress::Refused(_)),
            "{text}"
        );
        assert_eq!(
            parse(&bytes[..wrong - 1], LIMIT),
            HeadProgress::Incomplete,
            "{text}"
        );
    }
}

#[test]
fn the_target_is_found_in_a_line_that_is_malformed() {
    for (head, target) in [
        (&b"CONNECT h:443\r\n"[..], Some(&b"h:443"[..])),
        (b"CONNECT  h:443 HTTP/1.1\r\n", Some(b" h:443")),
        (b"CONNECT h:443 x HTTP/1.1\r\n", Some(b"h:443 x")),
        (b"CONNECT h:443 HTTP/1.1\n", Some(b"h:443")),
        (b"CONNECT h\x00:443 HTTP/1.1\r\n", Some(b"h\x00:443")),
        // If it were cut at the first wrong byte, the password would lose the `@` that marks it as
        // one.
        (
            b"CONNECT u:p\xe4ss@h:443 HTTP/1.1\r\n",
            Some(b"u:p\xe4ss@h:443"),
        ),
        (b"CONNECT h\r:443 HTTP/1.1\r\n", Some(b"h\r:443")),
        (b"CONNECT h", Some(b"h")),
        (
            b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nX: \x01",
            Some(b"h:443"),
        ),
        (b"CONNECT\r\n", None),
        (b"CONNECT \r\n", None),
        (b"\x16\x03\x01 a b", Some(b"a")),
    ] {
        assert_eq!(raw_target(head), target, "{}", head.escape_ascii());
    }
}

#[test]
fn a_head_has_at_most_limit_bytes() {
    let head = b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n";
    assert!(matches!(parse(head, head.len()), HeadProgress::Complete(_)));
    for limit in 0..head.len() {
        let HeadProgress::Refused(refusal) = parse(head, limit) else {
            panic!("{limit}: not refused");
        };
        assert_eq!(refusal.reason, Reason::HeadTooLarge, "{limit}");
        holds_for_every_prefix(head, limit);
    }
    // The head never ends, in its first line or after it.
    for (start, filler) in [
        ("CONNECT ", "a"),
        ("CONNECT h:443 HTTP/1.1\r\n", "X: y\r\n"),
    ] {
        let endless = format!("{start}{}", filler.repeat(LIMIT));
        let (reason, target) = refused(endless.as_bytes());
        assert_eq!(reason, Reason::HeadTooLarge);
        assert!(target.is_some());
        let below = &endless.as_bytes()[..LIMIT - 1];
        assert_eq!(parse(below, LIMIT), HeadProgress::Incomplete);
    }
}

#[test]
fn a_head_has_at_most_a_hundred_fields() {
    let head = |count: usize| {
        let more = "X: y\r\n".repeat(count - 1);
        format!("CONNECT h:443 HTTP/1.1\r\nHost: h\r\n{more}\r\n")
    };
    assert!(matches!(
        parse(head(100).as_bytes(), LIMIT),
        HeadProgress::Complete(_)
    ));
    assert_eq!(
        refused(head(101).as_bytes()),
        (Reason::HeadTooLarge, Some(&b"h:443"[..]))
    );
}

proptest! {
    #[test]
    fn any_bytes_have_one_answer(bytes in prop::collection::vec(any::<u8>(), 0..80), limit in 0..90usize) {
        holds_for_every_prefix(&bytes, limit);
    }

    /// A valid head with some changed bytes is closer to the edge than random bytes.
    #[test]
    fn a_damaged_head_has_one_answer(
        damage in prop::collection::vec((0..64usize, prop::sample::select(&b"\r\n\t \x00:/a1\x7f\xff"[..])), 0..4),
        limit in 30..70usize,
    ) {
        let mut head = b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nX: y\r\n\r\n!".to_vec();
        for (at, byte) in damage {
            let at = at % head.len();
            head[at] = byte;
        }
        holds_for_every_prefix(&head, limit);
    }

    /// The parser is held against httparse, which is laxer in all that both check.
    #[test]
    fn what_is_taken_is_read_alike_by_another_parser(
        damage in prop::collection::vec((0..64usize, any::<u8>()), 0..3),
    ) {
        let mut head = b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nX: y\r\n\r\n".to_vec();
        for (at, byte) in damage {
            let at = at % head.len();
            head[at] = byte;
        }
        if let HeadProgress::Complete(found) = parse(&head, LIMIT) {
            let mut storage = [httparse::EMPTY_HEADER; 16];
            let mut request = httparse::Request::new(&mut storage);
            prop_assert_eq!(request.parse(&head), Ok(httparse::Status::Complete(found.length)));
            prop_assert_eq!(request.path.unwrap().as_bytes(), raw_target(&head).unwrap());
        }
    }
}

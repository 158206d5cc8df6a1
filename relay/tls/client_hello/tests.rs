//! Recorded and generated hellos, cut up in every way. rustls is the oracle: it reads the same
//! bytes.

use std::sync::Arc;

use proptest::prelude::*;
use rustls::server::Acceptor;

use super::extensions::HOST_NAME;
use super::records::{CLIENT_HELLO, HANDSHAKE, MESSAGE_HEADER, RECORD_HEADER, TOO_LONG};
use super::*;
use crate::authority::Host;

const OPENSSL: &[u8] = include_bytes!("../testdata/openssl.bin");
const OPENSSL_TLS12: &[u8] = include_bytes!("../testdata/openssl-tls12.bin");
const CHROMIUM: &[u8] = include_bytes!("../testdata/chromium.bin");

fn host(name: &str) -> ServerName {
    ServerName::Host(Host::Name(name.parse().unwrap()))
}

fn complete(bytes: &[u8]) -> ClientHello {
    match parse(bytes) {
        HelloProgress::Complete(hello) => hello,
        other => panic!("{other:?}"),
    }
}

fn refused(bytes: &[u8]) -> &'static str {
    match parse(bytes) {
        HelloProgress::NotTls(rule) => rule,
        other => panic!("{other:?}"),
    }
}

fn shown(versions: &[TlsVersion]) -> Vec<String> {
    versions.iter().map(TlsVersion::to_string).collect()
}

// --- What rustls makes of the same bytes.

#[derive(Debug, PartialEq)]
enum Oracle {
    Incomplete,
    Complete(Option<String>),
    Refused,
}

fn oracle(bytes: &[u8]) -> Oracle {
    let mut acceptor = Acceptor::default();
    feed(&mut acceptor, bytes)
}

fn feed(acceptor: &mut Acceptor, mut bytes: &[u8]) -> Oracle {
    while !bytes.is_empty() {
        if acceptor.read_tls(&mut bytes).is_err() {
            return Oracle::Refused;
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                let name = accepted.client_hello().server_name().map(str::to_owned);
                return Oracle::Complete(name);
            }
            Err(_) => return Oracle::Refused,
        }
    }
    Oracle::Incomplete
}

/// Tells the name as the oracle does, which has none for an address.
fn as_oracle(hello: &ClientHello) -> Oracle {
    Oracle::Complete(match &hello.server_name {
        ServerName::Host(Host::Name(name)) => Some(name.to_string()),
        _ => None,
    })
}

// --- Hellos to work on.

/// Makes the hello that a rustls client sends.
fn generated(
    name: &'static str,
    alpn: &[&str],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let mut client =
        rustls::ClientConnection::new(Arc::new(config), name.try_into().unwrap()).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

fn hellos() -> Vec<Vec<u8>> {
    let both = rustls::ALL_VERSIONS;
    let many: Vec<_> = ["h2", "http/1.1"].into_iter().cycle().take(200).collect();
    vec![
        OPENSSL.to_vec(),
        OPENSSL_TLS12.to_vec(),
        CHROMIUM.to_vec(),
        generated("ch3.zerto.com", &["h2", "http/1.1"], both),
        generated("a.b.c.example", &[], &[&rustls::version::TLS12]),
        generated("localhost", &["x"], &[&rustls::version::TLS13]),
        generated("192.0.2.1", &[], both),
        generated("2001:db8::1", &[], both),
        generated("long.example", &many, both),
        minimal(&[]),
        minimal(&extension(SERVER_NAME, &one_name(b"ch3.zerto.com"))),
    ]
}

/// Makes a vector whose length has two bytes.
fn vector16(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap();
    [&length.to_be_bytes(), content].concat()
}

fn extension(number: u16, data: &[u8]) -> Vec<u8> {
    [&number.to_be_bytes()[..], &vector16(data)].concat()
}

fn entry(kind: u8, name: &[u8]) -> Vec<u8> {
    [&[kind], &vector16(name)[..]].concat()
}

fn one_name(name: &[u8]) -> Vec<u8> {
    vector16(&entry(HOST_NAME, name))
}

/// Makes the body of a hello that has only what must be there, and these extensions.
fn body(extensions: &[u8]) -> Vec<u8> {
    // rustls insists on `signature_algorithms` (RFC 8446, 4.2.3).
    let signatures = extension(13, &vector16(&[4, 3]));
    let extensions = vector16(&[&signatures, extensions].concat());
    [&prelude()[..], &extensions].concat()
}

/// Makes the body up to the extensions.
fn prelude() -> Vec<u8> {
    let random = [7; RANDOM];
    [&[3, 3], &random[..], &[0], &[0, 2, 0xc0, 0x2f], &[1, 0]].concat()
}

fn message(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[CLIENT_HELLO], &length[1..], body].concat()
}

fn record(content: &[u8]) -> Vec<u8> {
    [&[HANDSHAKE, 3, 1], &vector16(content)[..]].concat()
}

fn minimal(extensions: &[u8]) -> Vec<u8> {
    record(&message(&body(extensions)))
}

/// Puts the same handshake message into records anew, one for each piece.
fn refragment<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    pieces.into_iter().flat_map(record).collect()
}

/// Checks every prefix: it waits for as many bytes as it says, or has the last answer.
fn holds_for_every_prefix(bytes: &[u8]) {
    let last = parse(bytes);
    let mut decided = false;
    let mut needed = 0;
    for length in 0..=bytes.len() {
        match parse(&bytes[..length]) {
            HelloProgress::Incomplete { need } => {
                assert!(!decided, "took its answer back at {length}");
                assert!(length < need && need <= MAX_CLIENT_HELLO, "{length} {need}");
                assert!(need >= needed, "needs less at {length}");
                needed = need;
            }
            progress => {
                assert_eq!(progress, last, "{length}");
                assert!(length >= needed, "decided at {length}, needed {needed}");
                decided = true;
            }
        }
    }
}

// --- Recorded.

#[test]
fn reads_what_openssl_sends() {
    let hello = complete(OPENSSL);
    assert_eq!(hello.server_name, host("ch3.zerto.com"));
    assert_eq!(*hello.alpn, ["h2".into(), "http/1.1".into()]);
    assert_eq!(shown(&hello.versions), ["1.3", "1.2", "1.1", "1.0"]);
    assert!(!hello.ech);
}

#[test]
fn reads_a_hello_from_before_tls_1_3() {
    let hello = complete(OPENSSL_TLS12);
    assert_eq!(hello.server_name, host("autologs.zerto.com"));
    assert!(hello.alpn.is_empty());
    assert_eq!(shown(&hello.versions), ["1.2"]);
    assert!(!hello.ech);
}

#[test]
fn reads_what_a_browser_sends() {
    assert!(CHROMIUM.len() > 1460, "one segment holds it");
    let hello = complete(CHROMIUM);
    assert_eq!(hello.server_name, host("ch3.zerto.com"));
    assert_eq!(*hello.alpn, ["h2".into(), "http/1.1".into()]);
    assert_eq!(shown(&hello.versions), ["1.3", "1.2"]);
    assert!(hello.ech);
}

// --- Cut up.

#[test]
fn waits_for_as_long_as_it_says_at_every_length() {
    for bytes in hellos() {
        complete(&bytes);
        holds_for_every_prefix(&bytes);
    }
}

#[test]
fn fed_byte_by_byte_both_are_complete_at_the_same_one() {
    for bytes in hellos() {
        let mut acceptor = Acceptor::default();
        for length in 1..=bytes.len() {
            let theirs = feed(&mut acceptor, &bytes[length - 1..length]);
            let ours = match parse(&bytes[..length]) {
                HelloProgress::Incomplete { .. } => Oracle::Incomplete,
                HelloProgress::Complete(hello) => as_oracle(&hello),
                HelloProgress::NotTls(_) => Oracle::Refused,
            };
            assert_eq!(ours, theirs, "{length} of {}", bytes.len());
        }
    }
}

/// Gives a hello as it is in other bytes, which are nothing but its records.
fn cut_up(hello: &ClientHello, bytes: &[u8]) -> ClientHello {
    ClientHello {
        length: bytes.len(),
        ..hello.clone()
    }
}

#[test]
fn records_may_end_anywhere() {
    for bytes in hellos() {
        let whole = complete(&bytes);
        assert_eq!(whole.length, bytes.len());
        let content = &bytes[RECORD_HEADER..];
        for cut in 1..content.len() {
            let (left, right) = content.split_at(cut);
            let two = refragment([left, right]);
            assert_eq!(complete(&two), cut_up(&whole, &two), "{cut}");
            assert_eq!(oracle(&two), as_oracle(&whole), "{cut}");
            let last = two.len() - 1;
            assert!(
                matches!(parse(&two[..last]), HelloProgress::Incomplete { need } if need == two.len())
            );
        }
        for cut in [1, 3, 4, 5, 9, content.len() / 2] {
            let (left, right) = content.split_at(cut);
            holds_for_every_prefix(&refragment([left, right]));
        }
    }
}

#[test]
fn records_may_have_one_byte_each() {
    for bytes in hellos().into_iter().filter(|bytes| bytes.len() < 400) {
        let whole = complete(&bytes);
        let single = refragment(bytes[RECORD_HEADER..].chunks(1));
        assert_eq!(complete(&single), cut_up(&whole, &single));
        assert_eq!(oracle(&single), as_oracle(&whole));
        holds_for_every_prefix(&single);
    }
}

#[test]
fn what_follows_in_another_record_is_not_looked_at() {
    for after in [&[20, 3, 3, 0, 1, 1][..], &[23, 3, 3], b"\0"] {
        let bytes = [OPENSSL, after].concat();
        assert_eq!(complete(&bytes), complete(OPENSSL));
        holds_for_every_prefix(&bytes);
    }
}

// --- Not TLS.

#[test]
fn knows_other_protocols_by_their_first_bytes() {
    for (bytes, known_at) in [
        (&b"GET / HTTP/1.1\r\n"[..], 1),
        (b"SSH-2.0-Go\r\n", 1),
        (b"\x80\x2e\x01\x03\x01", 1),
        (b"\x15\x03\x03\x00\x02\x02\x28", 1),
        (b"\x17\x03\x03\x00\x01\x00", 1),
        (b"\0\0\0\0\0\0", 1),
        (b"\x16\x02\x00\x00\x05\x01", 2),
        (b"\x16\xfe\xff\x00\x05\x01", 2),
        (b"\x16\x03\x01\x00\x00\x01", 5),
        (b"\x16\x03\x01\x40\x01\x01", 5),
        // This is a ServerHello.
        (b"\x16\x03\x03\x00\x7a\x02\x00", 6),
        // This message is beyond every limit: by its highest byte, and then by its lower bytes.
        (b"\x16\x03\x01\x02\x00\x01\x01\x00\x00\x03", 9),
        (b"\x16\x03\x01\x02\x00\x01\x00\xff\xff\x03", 9),
    ] {
        refused(bytes);
        refused(&bytes[..known_at]);
        assert!(
            matches!(parse(&bytes[..known_at - 1]), HelloProgress::Incomplete { need } if need == known_at),
            "{}",
            bytes.escape_ascii()
        );
        holds_for_every_prefix(bytes);
    }
}

#[test]
fn a_second_record_is_judged_like_the_first() {
    let content = &OPENSSL[RECORD_HEADER..];
    let first = record(&content[..100]);
    for (second, known_at) in [
        (&[23, 3, 3, 0, 1, 0][..], 1),
        (&[21, 3, 3, 0, 2, 2, 40], 1),
        (&[22, 2, 0, 0, 1, 0], 2),
        (&[22, 3, 1, 0, 0], 5),
    ] {
        let bytes = [&first, second].concat();
        refused(&bytes);
        holds_for_every_prefix(&bytes);
        let before = &bytes[..first.len() + known_at - 1];
        assert!(matches!(parse(before), HelloProgress::Incomplete { .. }));
    }
}

#[test]
fn a_hello_takes_at_most_16_kib() {
    let padded = |padding: usize| minimal(&extension(21, &vec![0; padding]));
    let overhead = padded(0).len();
    let largest = padded(MAX_CLIENT_HELLO - overhead);
    assert_eq!(largest.len(), MAX_CLIENT_HELLO);
    complete(&largest);
    refused(&padded(MAX_CLIENT_HELLO - overhead + 1));
    // Record headers count too: the same message in two records is too long.
    let content = &largest[RECORD_HEADER..];
    let two = refragment([&content[..8000], &content[8000..]]);
    assert_eq!(refused(&two), refused(&two[..9]));
    let fits = padded(MAX_CLIENT_HELLO - overhead - RECORD_HEADER);
    let content = &fits[RECORD_HEADER..];
    complete(&refragment([&content[..8000], &content[8000..]]));
    // With one byte a record it never becomes complete, and never needs more than the limit.
    let single = refragment(CHROMIUM[RECORD_HEADER..].chunks(1));
    complete(&single);
    let single = refragment(content.chunks(1));
    let mut length = 0;
    let rule = loop {
        match parse(&single[..length]) {
            HelloProgress::Incomplete { need } => {
                assert!(length < need && need <= MAX_CLIENT_HELLO);
                length = need;
            }
            HelloProgress::NotTls(rule) => break rule,
            HelloProgress::Complete(_) => panic!("complete at {length}"),
        }
    };
    assert_eq!(rule, TOO_LONG.0);
}

#[test]
fn the_message_ends_with_its_record() {
    let content = &OPENSSL[RECORD_HEADER..];
    let trailing = record(&[content, &[0]].concat());
    assert_eq!(refused(&trailing), refused(&trailing[..9]));
    holds_for_every_prefix(&trailing);
    let (left, right) = content.split_at(50);
    refused(&refragment([left, &[right, &[0]].concat()]));
}

#[test]
fn a_broken_structure_is_no_hello() {
    let session_id = |length: u8| {
        let mut body = body(&[]);
        body[34] = length;
        body.splice(35..35, vec![0; length.into()]);
        record(&message(&body))
    };
    complete(&session_id(32));
    refused(&session_id(33));
    let with = |from: usize, to: usize, bytes: &[u8]| {
        let mut body = body(&[]);
        body.splice(from..to, bytes.iter().copied());
        record(&message(&body))
    };
    complete(&with(35, 39, &[0, 2, 0x13, 1]));
    refused(&with(35, 39, &[0, 0]));
    refused(&with(35, 39, &[0, 3, 0x13, 1, 0]));
    refused(&with(39, 41, &[0]));
    // A byte is left over after the extensions, and inside them.
    refused(&record(&message(&[&body(&[])[..], &[0]].concat())));
    refused(&minimal(&[0]));
    refused(&minimal(&[0, 99, 0, 1]));
    // An extension comes twice. GREASE has two numbers, so that it needn't.
    let grease = |number| extension(number, &[]);
    complete(&minimal(&[grease(0x0a0a), grease(0x1a1a)].concat()));
    refused(&minimal(&[grease(0x0a0a), grease(0x0a0a)].concat()));
    for data in [
        &[][..],
        &[0],
        &[0, 0],
        &[0, 1, 0],
        &[0, 2, 2, b'h'],
        &[0, 2, 1, b'x', 0],
    ] {
        refused(&minimal(&extension(ALPN, data)));
    }
    for data in [&[][..], &[0], &[1, 3], &[3, 3, 4, 3], &[2, 3, 4, 0]] {
        refused(&minimal(&extension(SUPPORTED_VERSIONS, data)));
    }
    // Cut anywhere, with lengths of message and record that fit the cut, it is refused.
    let whole = &OPENSSL[RECORD_HEADER + MESSAGE_HEADER..];
    let no_extensions = 2 + RANDOM + 1 + 32 + 2 + 62 + 2;
    for length in (0..whole.len()).filter(|length| *length != no_extensions) {
        refused(&record(&message(&whole[..length])));
    }
}

// --- What it says.

#[test]
fn a_hello_without_extensions_is_one() {
    let bytes = record(&message(&prelude()));
    let hello = complete(&bytes);
    assert_eq!(hello.server_name, ServerName::Absent);
    assert_eq!(shown(&hello.versions), ["1.2"]);
    let empty = record(&message(&[&prelude()[..], &[0, 0]].concat()));
    assert_eq!(complete(&empty), cut_up(&hello, &empty));
}

#[test]
fn server_name_is_one_host_or_nothing_equal_to_any() {
    let with = |data: &[u8]| complete(&minimal(&extension(SERVER_NAME, data))).server_name;
    let literal = |text: &str| ServerName::Host(Host::Literal(text.parse().unwrap()));
    for (name, expected) in [
        ("ch3.zerto.com", host("ch3.zerto.com")),
        ("CH3.Zerto.COM.", host("ch3.zerto.com")),
        ("localhost", host("localhost")),
        ("192.0.2.1", literal("192.0.2.1")),
        ("2001:db8::1", literal("2001:db8::1")),
        ("", ServerName::Invalid),
        (".", ServerName::Invalid),
        ("a..b", ServerName::Invalid),
        ("a_b.example", ServerName::Invalid),
        ("*.zerto.com", ServerName::Invalid),
        ("ch3.zerto.com:443", ServerName::Invalid),
        ("ch3.zerto.com\0", ServerName::Invalid),
        ("ch3.zerto.com ", ServerName::Invalid),
        ("b\u{fc}cher.example", ServerName::Invalid),
        ("[2001:db8::1]", ServerName::Invalid),
        ("fe80::1%eth0", ServerName::Invalid),
        ("127.1", ServerName::Invalid),
        ("0x7f000001", ServerName::Invalid),
    ] {
        assert_eq!(with(&one_name(name.as_bytes())), expected, "{name}");
    }
    let good = entry(HOST_NAME, b"ch3.zerto.com");
    for (what, data) in [
        ("not UTF-8", one_name(b"h\xff.example")),
        ("no list", vec![]),
        ("an empty list", vector16(&[])),
        (
            "two names",
            vector16(&[&good[..], &entry(HOST_NAME, b"evil.example")].concat()),
        ),
        (
            "the same name twice",
            vector16(&[&good[..], &good].concat()),
        ),
        ("another type", vector16(&entry(1, b"ch3.zerto.com"))),
        (
            "another type behind",
            vector16(&[&good[..], &entry(1, b"x")].concat()),
        ),
        (
            "bytes behind the entry",
            vector16(&[&good[..], &[0]].concat()),
        ),
        (
            "bytes behind the list",
            [&vector16(&good)[..], &[0]].concat(),
        ),
        ("a list cut short", vector16(&good)[..8].to_vec()),
        ("a name cut short", vector16(&good[..8])),
    ] {
        assert_eq!(with(&data), ServerName::Invalid, "{what}");
    }
    let once = extension(SERVER_NAME, &one_name(b"ch3.zerto.com"));
    let twice = minimal(&[&once[..], &once].concat());
    assert_eq!(complete(&twice).server_name, ServerName::Invalid);
}

#[test]
fn alpn_is_escaped_and_bounded() {
    let list = |names: &[&[u8]]| {
        let names: Vec<_> = names
            .iter()
            .flat_map(|name| [&[u8::try_from(name.len()).unwrap()], *name].concat())
            .collect();
        complete(&minimal(&extension(ALPN, &vector16(&names)))).alpn
    };
    assert_eq!(
        *list(&[b"h2", b"\x0a\xff\""]),
        ["h2".into(), r#"\n\xff\""#.into()]
    );
    let long = [0; 255];
    assert_eq!(list(&[&long[..]; 20]).len(), MAX_LISTED);
}

#[test]
fn versions_are_the_extensions_words_without_grease() {
    let list = |numbers: &[u16]| {
        let bytes: Vec<_> = numbers
            .iter()
            .flat_map(|number| number.to_be_bytes())
            .collect();
        let length = u8::try_from(bytes.len()).unwrap();
        let data = [&[length], &bytes[..]].concat();
        shown(&complete(&minimal(&extension(SUPPORTED_VERSIONS, &data))).versions)
    };
    assert_eq!(
        list(&[
            0x5a5a, 0x0304, 0x0303, 0x0302, 0x0301, 0x0300, 0x7f1c, 0x0002
        ]),
        ["1.3", "1.2", "1.1", "1.0", "ssl3", "0x7f1c", "0x0002"]
    );
    assert_eq!(list(&[0xfafa]), [""; 0]);
    // These look like GREASE, but aren't.
    assert_eq!(list(&[0x0a1a, 0x0b0b]), ["0x0a1a", "0x0b0b"]);
    assert_eq!(list(&[0x0304; 100]).len(), MAX_LISTED);
}

#[test]
fn ech_is_noticed_whatever_it_holds() {
    assert!(complete(&minimal(&extension(ENCRYPTED_CLIENT_HELLO, b"x"))).ech);
    assert!(!complete(&minimal(&extension(0xfe0c, b"x"))).ech);
}

// --- Damaged.

/// Draws one of the hellos, changes some of its bytes, and cuts it into records anew.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let hello = prop::sample::select(vec![OPENSSL.to_vec(), OPENSSL_TLS12.to_vec(), minimal(&[])]);
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (hello, changes, 1..400usize).prop_map(|(mut bytes, changes, size)| {
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let mut cut = refragment(bytes[RECORD_HEADER..].chunks(size));
        cut[..RECORD_HEADER - 2].copy_from_slice(&bytes[..RECORD_HEADER - 2]);
        cut
    })
}

proptest! {
    #[test]
    fn damaged_hellos_have_one_answer(bytes in damaged()) {
        holds_for_every_prefix(&bytes);
    }

    /// The parser may be stricter than the oracle. Where both find a hello, both name the same
    /// host. Where only the parser finds one, the oracle refuses it for a reason other than form.
    /// Where the parser waits, the oracle hasn't found one either.
    #[test]
    fn damaged_hellos_name_the_host_that_the_oracle_finds(bytes in damaged()) {
        match (parse(&bytes), oracle(&bytes)) {
            (HelloProgress::Complete(hello), theirs @ Oracle::Complete(_)) => {
                if hello.server_name != ServerName::Invalid {
                    prop_assert_eq!(as_oracle(&hello), theirs);
                }
            }
            (HelloProgress::Incomplete { .. }, theirs) => {
                prop_assert!(!matches!(theirs, Oracle::Complete(_)), "{theirs:?}");
            }
            (HelloProgress::Complete(_), theirs) => prop_assert_eq!(theirs, Oracle::Refused),
            (HelloProgress::NotTls(_), _) => {}
        }
    }

    #[test]
    fn any_bytes_have_one_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        holds_for_every_prefix(&bytes);
        let behind_a_header = [&[22, 3, 1, 0, 100, 1, 0, 0, 96][..], &bytes].concat();
        holds_for_every_prefix(&behind_a_header);
    }
}

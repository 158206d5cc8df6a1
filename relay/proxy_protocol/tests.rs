use proptest::prelude::*;
use proxy_header::{ParseConfig, Protocol, ProxiedAddress, ProxyHeader};

use super::*;

fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [V2, &[command, family], &length, block].concat()
}

fn block_v4() -> Vec<u8> {
    vec![10, 20, 0, 11, 192, 0, 2, 1, 0xc9, 0x3a, 0x0c, 0x38]
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap().to_be_bytes();
    [&[kind], &length[..], value].concat()
}

/// Makes an IPv4 header whose TLVs are `before`, a checksum, `after`.
fn summed(before: &[u8], after: &[u8]) -> Vec<u8> {
    let zeroed = v2(
        PROXY,
        0x11,
        &[&block_v4(), before, &tlv(CRC32C, &[0; 4]), after].concat(),
    );
    let sum = crc32c::sum(zeroed.iter().copied()).to_be_bytes();
    v2(
        PROXY,
        0x11,
        &[&block_v4(), before, &tlv(CRC32C, &sum), after].concat(),
    )
}

fn announces(bytes: &[u8], client: &str) {
    let HeaderProgress::Complete(header) = parse(bytes) else {
        panic!("{:?}: {:?}", parse(bytes), String::from_utf8_lossy(bytes));
    };
    let announced = header.announced.map(|it| it.client.to_string());
    assert_eq!(announced.unwrap_or_default(), client);
    assert_eq!(header.length, bytes.len());
    // Byte by byte the answer is the same, and bytes behind the header change nothing.
    for length in 0..bytes.len() {
        assert_eq!(
            parse(&bytes[..length]),
            HeaderProgress::Incomplete,
            "{length}"
        );
    }
    for more in [&b"CONNECT a:1 HTTP/1.1\r\n\r\n"[..], b"\r\n", b"PROXY ", V2] {
        assert_eq!(
            parse(&[bytes, more].concat()),
            HeaderProgress::Complete(header)
        );
    }
}

fn is_refused(bytes: &[u8], why: &str) {
    match parse(bytes) {
        HeaderProgress::Refused(said) => assert!(said.contains(why), "{said}, not {why}"),
        other => panic!("{other:?}: {:?}", String::from_utf8_lossy(bytes)),
    }
}

#[test]
fn lines() {
    for (line, client) in [
        (
            "PROXY TCP4 10.20.0.11 192.0.2.1 51514 3128\r\n",
            "10.20.0.11:51514",
        ),
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            "255.255.255.255:65535",
        ),
        ("PROXY TCP6 2001:DB8::1 ::1 0 1\r\n", "[2001:db8::1]:0"),
        ("PROXY TCP6 ::ffff:10.0.0.1 ::1 1 2\r\n", "10.0.0.1:1"),
        ("PROXY UNKNOWN\r\n", ""),
        (
            "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            "",
        ),
        ("PROXY UNKNOWN anything \r at all\r\n", ""),
    ] {
        announces(line.as_bytes(), client);
    }
}

#[test]
fn lines_that_are_none() {
    for (line, why) in [
        ("GET / HTTP/1.1\r\n\r\n", "no PROXY header"),
        ("CONNECT a.example:443 HTTP/1.1\r\n\r\n", "no PROXY header"),
        ("proxy TCP4 10.0.0.1 10.0.0.2 1 2\r\n", "no PROXY header"),
        (" PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n", "no PROXY header"),
        ("PROXY\tTCP4 10.0.0.1 10.0.0.2 1 2\r\n", "no PROXY header"),
        ("\x16\x03\x01", "no PROXY header"),
        ("PROXY \r\n", "family"),
        ("PROXY  TCP4 10.0.0.1 10.0.0.2 1 2\r\n", "family"),
        ("PROXY TCP5 10.0.0.1 10.0.0.2 1 2\r\n", "family"),
        ("PROXY UDP4 10.0.0.1 10.0.0.2 1 2\r\n", "family"),
        ("PROXY UNKNOWNS\r\n", "family"),
        ("PROXY TCP4\r\n", "family"),
        ("PROXY TCP4 \r\n", "two addresses"),
        ("PROXY TCP4 10.0.0.1 10.0.0.2 1\r\n", "two addresses"),
        ("PROXY TCP4 10.0.0.1 10.0.0.2 1 2 \r\n", "two addresses"),
        ("PROXY TCP4 10.0.0.1 10.0.0.2 1 2 3\r\n", "two addresses"),
        ("PROXY TCP4 10.0.0.1  10.0.0.2 1 2\r\n", "two addresses"),
        ("PROXY TCP4 10.0.0.1 10.0.0.2 1\n 2\r\n", "two addresses"),
        ("PROXY TCP4 010.0.0.1 10.0.0.2 1 2\r\n", "two addresses"),
        ("PROXY TCP4 10.0.1 10.0.0.2 1 2\r\n", "two addresses"),
        ("PROXY TCP4 ::1 ::2 1 2\r\n", "two addresses"),
        ("PROXY TCP6 10.0.0.1 10.0.0.2 1 2\r\n", "two addresses"),
        ("PROXY TCP6 fe80::1%1 ::2 1 2\r\n", "two addresses"),
        ("PROXY TCP6 [::1] ::2 1 2\r\n", "two addresses"),
        ("PROXY TCP4 10.0.0.1 10.0.0.2 +1 2\r\n", "two addresses"),
        ("PROXY TCP4 10.0.0.1 10.0.0.2 01 2\r\n", "two addresses"),
        ("PROXY TCP4 10.0.0.1 10.0.0.2 65536 2\r\n", "two addresses"),
        ("PROXY TCP4 10.0.0.1 10.0.0.2 -1 2\r\n", "two addresses"),
        ("PROXY TCP4 10.0.0.1 10.0.0.2 1 \r\n", "two addresses"),
    ] {
        is_refused(line.as_bytes(), why);
    }
    is_refused(b"PROXY UNKNOWN \xff\r\n", "no text");
    // A line is refused before its end could come too late.
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_MAX));
    is_refused(long.as_bytes(), "too long");
    is_refused(&long.as_bytes()[..V1_MAX], "too long");
    assert_eq!(
        parse(&long.as_bytes()[..V1_MAX - 1]),
        HeaderProgress::Incomplete
    );
}

#[test]
fn headers() {
    announces(&v2(PROXY, 0x11, &block_v4()), "10.20.0.11:51514");
    let mut v6 = vec![0; 36];
    v6[..2].copy_from_slice(&[0x20, 0x01]);
    v6[32] = 1;
    announces(&v2(PROXY, 0x21, &v6), "[2001::]:256");
    v6[..16].copy_from_slice(&Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().octets());
    announces(&v2(PROXY, 0x21, &v6), "10.0.0.1:256");
    let tlvs = [
        tlv(0x01, b"h2"),
        tlv(0x02, b"\xff\0"),
        tlv(0xea, &[]),
        tlv(0x20, &[1; 99]),
    ];
    let block = [block_v4(), tlvs.concat()].concat();
    announces(&v2(PROXY, 0x11, &block), "10.20.0.11:51514");
    announces(
        &summed(&tlv(0x04, &[0; 9]), &tlv(0x05, b"id")),
        "10.20.0.11:51514",
    );
    announces(&summed(&[], &[]), "10.20.0.11:51514");

    // These headers announce no client, so the bytes of their block don't count.
    for block in [&[][..], &[0xff; 7], &block_v4(), &[0xff; 300]] {
        for family in [0x00, 0x11, 0x21, 0x31, 0xff] {
            announces(&v2(LOCAL, family, block), "");
        }
        announces(&v2(PROXY, 0x00, block), "");
    }
    for (family, length) in [(0x12, 12), (0x22, 36), (0x31, 216), (0x32, 216)] {
        announces(&v2(PROXY, family, &vec![0x41; length]), "");
    }
}

#[test]
fn headers_that_are_none() {
    for command in [0x00, 0x01, 0x11, 0x22, 0x2f, 0x31, 0xff] {
        is_refused(&v2(command, 0x11, &block_v4()), "version or command");
    }
    for family in [0x01, 0x02, 0x10, 0x13, 0x20, 0x23, 0x30, 0x33, 0x41, 0xff] {
        is_refused(&v2(PROXY, family, &[0; 300]), "family");
    }
    for (family, length) in [
        (0x11, 12),
        (0x12, 12),
        (0x21, 36),
        (0x22, 36),
        (0x31, 216),
        (0x32, 216),
    ] {
        for short in [0, 1, length - 1] {
            is_refused(&v2(PROXY, family, &vec![0; short]), "too short");
        }
        // One or two bytes are no TLV.
        for more in [1, 2] {
            is_refused(
                &v2(PROXY, family, &vec![0; length + more]),
                "longer than the rest",
            );
        }
    }
    let with = |tlvs: &[u8]| v2(PROXY, 0x11, &[&block_v4(), tlvs].concat());
    is_refused(&with(&[0x04, 0, 1]), "longer than the rest");
    is_refused(&with(&[0x04, 0xff, 0xff, 0, 0]), "longer than the rest");
    is_refused(
        &with(&[tlv(0x04, b"x"), vec![0x04, 0, 9]].concat()),
        "longer than the rest",
    );
    // Bytes behind the header must not be read as part of it (HAProxy 488ee7fb).
    is_refused(
        &[with(&[0x04, 0, 5]), b"CONNECT".to_vec()].concat(),
        "longer than the rest",
    );

    is_refused(&with(&tlv(CRC32C, &[0; 4])), "wrong checksum");
    is_refused(&with(&tlv(CRC32C, &[0; 3])), "wrong length");
    is_refused(&summed(&[], &tlv(CRC32C, &[0; 4])), "two checksums");
    let good = summed(&tlv(0x04, b"pad"), &tlv(0x05, b"id"));
    // The checksum covers everything but the byte that says that there is one.
    let kind = V2_FIXED + block_v4().len() + tlv(0x04, b"pad").len();
    for at in (V2.len() + 4..good.len()).filter(|at| *at != kind) {
        let mut flipped = good.clone();
        flipped[at] ^= 1;
        assert!(
            matches!(parse(&flipped), HeaderProgress::Refused(_)),
            "byte {at}"
        );
    }

    // It is refused before a byte of its block has come.
    let long = v2(PROXY, 0x11, &vec![0; V2_MAX - V2_FIXED + 1]);
    is_refused(&long[..V2_FIXED], "too long");
    is_refused(&[V2, &[PROXY, 0x11, 0xff, 0xff]].concat(), "too long");
    let longest = [block_v4(), tlv(0x04, &vec![0; V2_MAX - V2_FIXED - 12 - 3])].concat();
    announces(&v2(PROXY, 0x11, &longest), "10.20.0.11:51514");
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from),
    ]
}

proptest! {
    #[test]
    fn nothing_panics_and_nothing_beyond_the_header_counts(
        start in prop_oneof![Just(V1.to_vec()), Just(V2.to_vec()), Just([V2, &[PROXY, 0x11, 0]].concat()), Just(Vec::new())],
        rest: Vec<u8>,
        more: Vec<u8>,
    ) {
        let bytes = [start, rest].concat();
        let whole = parse(&bytes);
        if whole != HeaderProgress::Incomplete {
            prop_assert_eq!(parse(&[bytes, more].concat()), whole);
        }
    }

    /// A header that another implementation writes is read as it was meant.
    #[test]
    fn reads_what_another_writes(client in address(), server: [u8; 16], ports: (u16, u16), binary: bool) {
        let server = match client {
            IpAddr::V4(_) => IpAddr::from(*server.first_chunk::<4>().unwrap()),
            IpAddr::V6(_) => IpAddr::from(server),
        };
        let (client, server) = (SocketAddr::new(client, ports.0), SocketAddr::new(server, ports.1));
        let header = ProxyHeader::with_address(ProxiedAddress::stream(client, server));
        let mut bytes = [0; 256];
        let length = if binary { header.encode_to_slice_v2(&mut bytes) } else { header.encode_to_slice_v1(&mut bytes) }.unwrap();
        let canonical = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
        let announced = Some(Announced { client: canonical(client), server: canonical(server) });
        prop_assert_eq!(parse(&bytes), HeaderProgress::Complete(Header { announced, length }));
    }

    /// A client that is read here is read by another implementation as the same client.
    #[test]
    fn is_no_more_lenient_than_another(
        version in prop::bool::ANY,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        tlvs: Vec<u8>,
    ) {
        let mut bytes = if version {
            v2(PROXY, 0x11, &[block_v4(), tlvs].concat())
        } else {
            b"PROXY TCP4 10.20.0.11 192.0.2.1 51514 3128\r\n".to_vec()
        };
        for (at, new) in edits {
            let at = at.index(bytes.len());
            bytes[at] = new;
        }
        if let HeaderProgress::Complete(Header { announced: Some(announced), length }) = parse(&bytes) {
            let (header, other) = ProxyHeader::parse(&bytes, ParseConfig::default()).unwrap();
            let address = header.proxied_address().unwrap();
            prop_assert_eq!(address.protocol, Protocol::Stream);
            prop_assert_eq!((address.source, address.destination), (announced.client, announced.server));
            prop_assert_eq!(other, length);
        }
    }
}

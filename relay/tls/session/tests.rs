use std::io::{Read as _, Write as _};
use std::sync::Arc;

use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedProtocolVersion,
};

use super::{MAX_WAITING, TlsSession};

/// A session, and a client of rustls' buffered kind that is connected to it.
struct Pair {
    client: ClientConnection,
    session: TlsSession,
    /// The bytes that the session has opened.
    opened: Vec<u8>,
}

impl Pair {
    fn new(version: &'static SupportedProtocolVersion) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["relay.example".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = "relay.example".try_into().unwrap();
        Self {
            client: ClientConnection::new(Arc::new(client), name).unwrap(),
            session: TlsSession::new(Arc::new(server)).unwrap(),
            opened: Vec::new(),
        }
    }

    fn shaken(version: &'static SupportedProtocolVersion) -> Self {
        let mut pair = Self::new(version);
        while pair.client.is_handshaking() || pair.session.is_handshaking() {
            pair.up(usize::MAX);
            pair.down(&[]);
        }
        pair
    }

    /// Hands what the client has to send to the session, in pieces.
    fn up(&mut self, piece: usize) {
        let mut sealed = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut sealed).unwrap();
        }
        self.receive(&sealed, piece).unwrap();
    }

    fn receive(&mut self, sealed: &[u8], piece: usize) -> Result<(), rustls::Error> {
        for piece in sealed.chunks(piece) {
            let mut buffer = vec![0; MAX_WAITING + piece.len()];
            let waiting = self.session.lay_out(&mut buffer);
            let end = waiting + piece.len();
            buffer[waiting..end].copy_from_slice(piece);
            self.session.open(&mut buffer[..end], &mut self.opened)?;
        }
        Ok(())
    }

    /// Hands what the session has to send to the client, and then `more`, which was sealed after
    /// it.
    fn down(&mut self, more: &[u8]) {
        let sealed = [self.session.outgoing(), more].concat();
        self.session.sent(usize::MAX);
        let mut rest = sealed.as_slice();
        while !rest.is_empty() {
            self.client.read_tls(&mut rest).unwrap();
            self.client.process_new_packets().unwrap();
        }
    }

    fn seal(&mut self, plain: &[u8]) {
        let mut sealed = Vec::new();
        self.session.seal(plain, &mut sealed).unwrap();
        self.down(&sealed);
    }

    /// Reads what has arrived at the client.
    fn arrived(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // An end without a `close_notify` is an error, which comes after the bytes before it.
        let _ = self.client.reader().read_to_end(&mut bytes);
        bytes
    }

    fn is_at_rest(&self) -> bool {
        let TlsSession {
            incoming, outgoing, ..
        } = &self.session;
        incoming.capacity() == 0 && outgoing.capacity() == 0
    }
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

#[test]
fn carries_both_ways_and_holds_nothing_at_rest() {
    for version in VERSIONS {
        let mut pair = Pair::shaken(version);
        assert!(pair.is_at_rest());
        let long: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        for message in [&b"short"[..], &long, b"", b"x"] {
            let mut rest = message;
            while !rest.is_empty() {
                // The client buffers only part of it at a time.
                let taken = pair.client.writer().write(rest).unwrap();
                rest = &rest[taken..];
                pair.up(777);
            }
            assert_eq!(std::mem::take(&mut pair.opened), message);
            for piece in message.chunks(30_000) {
                pair.seal(piece);
                assert_eq!(pair.arrived(), piece);
            }
            assert!(pair.is_at_rest());
        }
    }
}

#[test]
fn an_end_is_an_end_of_one_direction() {
    for version in VERSIONS {
        let mut pair = Pair::shaken(version);
        pair.client.writer().write_all(b"last").unwrap();
        pair.client.send_close_notify();
        pair.up(3);
        assert_eq!(pair.opened, b"last");
        assert!(pair.session.has_ended());
        // Bytes behind the end are ignored.
        pair.receive(b"\x17\x03\x03\xff\xff garbage", 5).unwrap();
        assert!(pair.is_at_rest());
        let mut sealed = Vec::new();
        pair.session.seal(b"still here", &mut sealed).unwrap();
        pair.session.close(&mut sealed).unwrap();
        pair.down(&sealed);
        let mut bytes = Vec::new();
        pair.client.reader().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"still here");
    }
}

/// Half a key update waits in the session, where rustls has its place in it, while the other
/// direction goes on.
#[test]
fn new_keys_in_the_middle_of_anything() {
    let mut pair = Pair::shaken(&rustls::version::TLS13);
    for piece in [1, 2, 7, 100] {
        pair.client.refresh_traffic_keys().unwrap();
        pair.client.writer().write_all(b"after").unwrap();
        let mut sealed = Vec::new();
        while pair.client.wants_write() {
            pair.client.write_tls(&mut sealed).unwrap();
        }
        for piece in sealed.chunks(piece) {
            pair.receive(piece, usize::MAX).unwrap();
            pair.seal(b"down");
            assert_eq!(pair.arrived(), b"down");
        }
        assert_eq!(std::mem::take(&mut pair.opened), b"after");
        assert!(pair.is_at_rest());
    }
}

#[test]
fn whoever_is_no_tls_client_is_told_so() {
    let mut pair = Pair::new(&rustls::version::TLS13);
    let error = pair.receive(b"CONNECT a.example:443 HTTP/1.1\r\n\r\n", 100);
    assert!(
        matches!(error, Err(rustls::Error::InvalidMessage(_))),
        "{error:?}"
    );
    // A fatal alert is to be sent.
    assert_eq!(pair.session.outgoing()[..2], [0x15, 0x03]);
    assert_eq!(pair.session.outgoing()[5], 2);
    // Nothing more can be sealed.
    assert!(pair.session.seal(b"x", &mut Vec::new()).is_err());
}

/// Tells whether the byte at `at` is part of the version in a record's header.
fn is_version(records: &[u8], at: usize) -> bool {
    let mut start = 0;
    while let Some(&[_, _, _, high, low]) = records.get(start..start + 5) {
        let next = start + 5 + usize::from(u16::from_be_bytes([high, low]));
        if at < next {
            return at == start + 1 || at == start + 2;
        }
        start = next;
    }
    false
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A stream that is damaged or cut anywhere opens to a beginning of what was sealed, without a
    /// panic.
    #[test]
    fn damage_is_noticed(
        sizes in prop::collection::vec(1_usize..3000, 1..5),
        at: prop::sample::Index,
        bit in 0_u8..8,
        piece in 1_usize..4000,
        newer: bool,
    ) {
        let mut pair = Pair::shaken(VERSIONS[usize::from(newer)]);
        let mut sent = Vec::new();
        let mut sealed = Vec::new();
        for size in sizes {
            let message = vec![u8::try_from(size % 251).unwrap(); size];
            pair.client.writer().write_all(&message).unwrap();
            sent.extend(message);
            while pair.client.wants_write() {
                pair.client.write_tls(&mut sealed).unwrap();
            }
        }
        let at = at.index(sealed.len());
        sealed[at] ^= 1 << bit;
        let received = pair.receive(&sealed, piece);
        prop_assert!(sent.starts_with(&pair.opened));
        // No peer looks at the version in a record's header (RFC 8446, 5.1). So damage to it is no
        // damage.
        if received.is_ok() && !is_version(&sealed, at) {
            prop_assert!(pair.opened.len() < sent.len());
        }
        let _ = pair.session.seal(b"x", &mut Vec::new());
        let _ = pair.session.close(&mut Vec::new());
    }

    /// Any first bytes are handled without a panic.
    #[test]
    fn nothing_panics(bytes: Vec<u8>, hello: bool, piece in 1_usize..50) {
        let mut pair = Pair::new(&rustls::version::TLS13);
        let mut sealed = Vec::new();
        if hello {
            pair.client.write_tls(&mut sealed).unwrap();
        }
        sealed.extend(bytes);
        let _ = pair.receive(&sealed, piece);
    }
}

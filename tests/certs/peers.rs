//! What a certificate contains, and who accepts it for what.

use std::time::{SystemTime, UNIX_EPOCH};

use rustls::{ClientConnection, ServerConnection};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use super::shake;
use crate::support::certs::{CLIENT, CLIENT_STEM, Made, RELAY};

#[test]
fn a_certificate_says_what_it_is_for_and_no_more() {
    let pki = Made::full();
    let now = i64::try_from(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs(),
    )
    .unwrap();
    let mut serials = Vec::new();
    for (file, names, days) in [
        ("ca.pem", &[][..], 3650),
        ("relay.pem", &[RELAY, "192.0.2.10", "2001:db8::1"], 397),
        ("client-zvm-ams-1.pem", &[CLIENT], 397),
    ] {
        let der = pki.certificate(file);
        let (rest, certificate) = X509Certificate::from_der(&der).unwrap();
        assert!(rest.is_empty());
        let is_ca = file == "ca.pem";
        let constraints = certificate.basic_constraints().unwrap().unwrap();
        assert_eq!(
            (constraints.critical, constraints.value.ca),
            (true, is_ca),
            "{file}"
        );
        assert_eq!(constraints.value.path_len_constraint, is_ca.then_some(0));
        let usage = certificate.key_usage().unwrap().unwrap();
        assert!(usage.critical);
        assert_eq!(usage.value.key_cert_sign(), is_ca);
        assert_eq!(usage.value.digital_signature(), !is_ca);
        let extended = certificate.extended_key_usage().unwrap();
        let (server, client) = extended.as_ref().map_or((false, false), |it| {
            (it.value.server_auth, it.value.client_auth)
        });
        assert_eq!(
            (server, client),
            (file == "relay.pem", file.starts_with("client"))
        );
        assert!(extended.is_none_or(|it| !it.value.any));
        let named = certificate.subject_alternative_name().unwrap();
        let named: Vec<_> = named
            .iter()
            .flat_map(|it| &it.value.general_names)
            .map(name)
            .collect();
        assert_eq!(named, names, "{file}");

        let (from, until) = (
            certificate.validity().not_before.timestamp(),
            certificate.validity().not_after.timestamp(),
        );
        let day = 24 * 60 * 60;
        assert!(
            from <= now - day && from > now - 2 * day - 60,
            "{file}: a day's grace for clocks"
        );
        let expected = now + days * day;
        assert!(until <= expected && until > expected - day - 60, "{file}");
        let serial = certificate.raw_serial();
        assert!(serial.len() == 16 && serial[0] & 0x80 == 0, "{serial:?}");
        serials.push(serial.to_vec());
    }
    serials.sort();
    serials.dedup();
    assert_eq!(serials.len(), 3);
}

#[test]
fn rustls_shakes_hands_with_both_certificates() {
    let pki = Made::full();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let (client, server) =
            shake(&pki, &pki, CLIENT_STEM, &pki, "relay", RELAY, version).unwrap();
        assert_eq!(client.protocol_version(), Some(version.version));
        assert_eq!(
            client.peer_certificates(),
            Some(&[pki.certificate("relay.pem")][..])
        );
        let shown = server.peer_certificates().unwrap();
        assert_eq!(shown, [pki.certificate("client-zvm-ams-1.pem")]);
    }
    let address = shake(
        &pki,
        &pki,
        CLIENT_STEM,
        &pki,
        "relay",
        "192.0.2.10",
        &rustls::version::TLS13,
    );
    assert!(address.is_ok(), "{:?}", address.err());
}

#[test]
fn rustls_refuses_them_for_anything_else() {
    let (pki, other) = (Made::full(), Made::full());
    let tls = &rustls::version::TLS13;
    let refused = |result: Result<_, rustls::Error>| {
        result
            .map(|_: (ClientConnection, ServerConnection)| ())
            .unwrap_err()
            .to_string()
    };
    for (why, result) in [
        // The certificate was made for another name.
        (
            "not valid for name",
            shake(&pki, &pki, CLIENT_STEM, &pki, "relay", "other.example", tls),
        ),
        // The certificate is of another site's CA, on either side.
        (
            "UnknownIssuer",
            shake(&other, &pki, CLIENT_STEM, &pki, "relay", RELAY, tls),
        ),
        (
            "UnknownIssuer",
            shake(&pki, &other, CLIENT_STEM, &pki, "relay", RELAY, tls),
        ),
        // The relay's key makes no client, and a client's key no relay.
        (
            "extended key usage",
            shake(&pki, &pki, "relay", &pki, "relay", RELAY, tls),
        ),
        (
            "extended key usage",
            shake(&pki, &pki, CLIENT_STEM, &pki, CLIENT_STEM, CLIENT, tls),
        ),
        // The CA's key makes neither.
        ("", shake(&pki, &pki, "ca", &pki, "relay", RELAY, tls)),
    ] {
        let error = refused(result);
        assert!(error.contains(why), "{why}: {error}");
    }
}

fn name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) => (*name).to_owned(),
        GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
            Ok(v4) => std::net::Ipv4Addr::from(v4).to_string(),
            Err(_) => std::net::Ipv6Addr::from(<[u8; 16]>::try_from(*bytes).unwrap()).to_string(),
        },
        other => panic!("{other:?}"),
    }
}

//! Certificates of throw-away authorities, in files, and TLS clients that have them.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// An authority, and the files of what it issued.
pub(crate) struct Pki {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// The purpose of a certificate, and how good it is.
#[derive(Clone, Copy)]
pub(crate) enum Use {
    Server,
    Client,
    /// A client's, of the last century.
    Expired,
    /// A server's, for a week.
    Expiring,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        // A certificate whose name equals its issuer's would pass for self-signed.
        params
            .distinguished_name
            .push(DnType::CommonName, "a throw-away authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        fs::write(directory.path().join("ca.pem"), certificate.pem()).unwrap();
        Self {
            directory,
            issuer: Issuer::new(params, key),
        }
    }

    /// Makes an authority with a certificate for the relay, whose names are "relay.example" and
    /// loopback's address.
    pub(crate) fn with_relay() -> Self {
        let pki = Self::new();
        pki.issue("relay", Use::Server, &["relay.example", "127.0.0.1"]);
        pki
    }

    /// Writes `STEM.pem` and `STEM.key`, and replaces those that exist.
    pub(crate) fn issue(&self, stem: &str, r#use: Use, names: &[&str]) {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![match r#use {
            Use::Server | Use::Expiring => ExtendedKeyUsagePurpose::ServerAuth,
            Use::Client | Use::Expired => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        match r#use {
            Use::Server | Use::Client => {}
            Use::Expired => {
                params.not_before = date_time_ymd(1999, 1, 1);
                params.not_after = date_time_ymd(1999, 12, 31);
            }
            Use::Expiring => {
                let week = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(7 * 24);
                let end = jiff::tz::Offset::UTC.to_datetime(week);
                let [month, day] = [end.month(), end.day()].map(i8::unsigned_abs);
                params.not_after = date_time_ymd(end.year().into(), month, day);
            }
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.path(&format!("{stem}.pem")), certificate.pem()).unwrap();
        fs::write(self.path(&format!("{stem}.key")), key.serialize_pem()).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn name(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub(crate) fn certificate(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.path(name)).unwrap()
    }

    /// Returns a listener that is an HTTPS proxy, with these further keys. It asks for certificates
    /// of `clients`.
    pub(crate) fn listener(&self, clients: Option<&Self>, keys: &str) -> String {
        let tls = self.tls(clients);
        format!("[[listener]]\nname = \"proxy\"\nbind = \"127.0.0.1:0\"\n{tls}\n{keys}\n")
    }

    /// Returns the key that makes a listener an HTTPS proxy.
    pub(crate) fn tls(&self, clients: Option<&Self>) -> String {
        let client_ca = clients.map_or_else(String::new, |pki| {
            format!(", client_ca = \"{}\"", pki.name("ca.pem"))
        });
        let (certificate, key) = (self.name("relay.pem"), self.name("relay.key"));
        format!("tls = {{ certificate = \"{certificate}\", key = \"{key}\"{client_ca} }}")
    }

    /// Returns a client that trusts this authority, and shows this certificate if it is given one.
    pub(crate) fn client(&self, shows: Option<(&Self, &str)>, version: Version) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate("ca.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        let config = match shows {
            None => builder.with_no_client_auth(),
            Some((pki, stem)) => {
                let key = pki.path(&format!("{stem}.key"));
                builder
                    .with_client_auth_cert(
                        vec![pki.certificate(&format!("{stem}.pem"))],
                        PrivateKeyDer::from_pem_file(key).unwrap(),
                    )
                    .unwrap()
            }
        };
        TlsConnector::from(Arc::new(config))
    }

    /// Shakes hands with the relay over a new connection.
    pub(crate) async fn connect(&self, proxy: SocketAddr) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(proxy).await.unwrap();
        shake_hands(&self.client(None, TLS13), stream)
            .await
            .unwrap()
    }
}

pub(crate) async fn shake_hands(
    client: &TlsConnector,
    stream: TcpStream,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = "relay.example".try_into().unwrap();
    client.connect(name, stream).await
}

pub(crate) type Version = &'static SupportedProtocolVersion;
pub(crate) const TLS12: Version = &rustls::version::TLS12;
pub(crate) const TLS13: Version = &rustls::version::TLS13;

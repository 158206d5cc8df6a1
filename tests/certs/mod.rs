//! `certs`: what it makes is taken by OpenSSL and rustls, each certificate for its own use alone; what is there stays as it is.

mod files;
mod peers;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
};
use tempfile::TempDir;

use crate::support::command::{Ran, binary, finish};

/// A directory for the command to make.
struct Pki(TempDir);

impl Pki {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn full() -> Self {
        let pki = Self::new();
        let names = [
            "--name",
            RELAY,
            "--name",
            "192.0.2.10",
            "--name",
            "2001:db8::1",
            "--client",
            CLIENT,
        ];
        let ran = pki.make(&names);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        pki
    }

    fn make(&self, args: &[&str]) -> Ran {
        let dir = self.dir().display().to_string();
        finish(binary(&[&["certs", "--dir", &dir], args].concat()))
    }

    fn dir(&self) -> PathBuf {
        self.0.path().join("a/pki")
    }

    fn path(&self, name: &str) -> String {
        self.dir().join(name).display().to_string()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn certificate(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.path(name)).unwrap()
    }

    fn key(&self, name: &str) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_file(self.path(name)).unwrap()
    }

    /// Every file, hidden ones too.
    fn contents(&self) -> BTreeMap<String, String> {
        let entries = fs::read_dir(self.dir()).into_iter().flatten();
        let name = |entry: std::io::Result<fs::DirEntry>| {
            entry.unwrap().file_name().into_string().unwrap()
        };
        entries
            .map(name)
            .map(|name| (name.clone(), self.read(&name)))
            .collect()
    }

    fn modes(&self) -> BTreeMap<String, u32> {
        self.contents()
            .into_keys()
            .map(|name| (name.clone(), mode(&self.dir().join(name))))
            .collect()
    }
}

/// A handshake in memory, of a client that trusts `trusted` and shows `client`, with a server that shows `server` and wants clients
/// of `admitted`.
fn shake(
    trusted: &Pki,
    admitted: &Pki,
    client: &str,
    made: &Pki,
    server: &str,
    name: &str,
    version: &'static SupportedProtocolVersion,
) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
    let chain = |stem: &str| {
        (
            vec![made.certificate(&format!("{stem}.pem"))],
            made.key(&format!("{stem}.key")),
        )
    };
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(trusted), provider())
        .build()
        .unwrap();
    let (certificates, key) = chain(client);
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])?
        .with_webpki_verifier(verifier)
        .with_client_auth_cert(certificates, key)?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name)?;

    let verifier = WebPkiClientVerifier::builder_with_provider(roots(admitted), provider())
        .build()
        .unwrap();
    let (certificates, key) = chain(server);
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates, key)?;
    let mut server = ServerConnection::new(Arc::new(config))?;

    while client.is_handshaking() || server.is_handshaking() {
        let mut flight = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut flight).unwrap();
        }
        server.read_tls(&mut flight.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut flight = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut flight).unwrap();
        }
        client.read_tls(&mut flight.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok((client, server))
}

fn roots(pki: &Pki) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(pki.certificate("ca.pem")).unwrap();
    Arc::new(roots)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn openssl(args: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    command.args(args);
    command
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

const RELAY: &str = "relay.dmz.example";

const CLIENT: &str = "zvm-ams-1";

const CLIENT_STEM: &str = "client-zvm-ams-1";

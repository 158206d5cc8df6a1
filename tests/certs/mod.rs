//! `certs`: rustls accepts what it makes, each certificate for its own use alone. Existing files
//! stay as they are.

mod files;
mod peers;

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
};

use crate::support::certs::Made;

/// Shakes hands in memory. The client trusts `trusted` and shows `client`; the server shows
/// `server` and admits clients of `admitted`.
fn shake(
    trusted: &Made,
    admitted: &Made,
    client: &str,
    made: &Made,
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

    let (certificates, key) = chain(server);
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])?
        .with_client_cert_verifier(clients_of(admitted))
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

/// Accepts the clients that this directory's CA has issued a certificate for.
fn clients_of(pki: &Made) -> Arc<dyn ClientCertVerifier> {
    WebPkiClientVerifier::builder_with_provider(roots(pki), provider())
        .build()
        .unwrap()
}

fn roots(pki: &Made) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(pki.certificate("ca.pem")).unwrap();
    Arc::new(roots)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

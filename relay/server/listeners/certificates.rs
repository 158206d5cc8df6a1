//! Loads the certificates of the listeners that speak TLS. Either all of their files are good, or
//! none is used.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};

use crate::server::options::{ListenerOptions, TlsOptions};
use crate::tls;

/// What each listener shows and asks for, by the listener's name. A reload replaces all of them,
/// and a clone shares them.
#[derive(Clone, Debug, Default)]
pub struct Certificates(Arc<HashMap<Arc<str>, ListenerTls>>);

/// The certificate and the rules of one listener, as rustls takes them.
#[derive(Debug)]
struct ListenerTls {
    config: Arc<ServerConfig>,
    /// The certificate's end in seconds since 1970, where it could be read.
    not_after: Option<i64>,
}

/// A file that doesn't hold the certificates or the key that a listener needs.
#[derive(Debug, thiserror::Error)]
#[error("the listener \"{listener}\": {}: {why}", path.display())]
pub struct CertificateError {
    listener: Arc<str>,
    path: PathBuf,
    why: String,
}

impl Certificates {
    /// Reads every file that the listeners name.
    ///
    /// # Errors
    ///
    /// Names the first file that can't be read, isn't PEM of its kind, or doesn't match the others.
    pub fn load(listeners: &[ListenerOptions]) -> Result<Self, CertificateError> {
        let mut configs = HashMap::new();
        for listener in listeners {
            let Some(options) = &listener.tls else {
                continue;
            };
            let loaded = load(options).map_err(|(path, why)| CertificateError {
                listener: listener.name.clone(),
                path: path.to_owned(),
                why,
            })?;
            configs.insert(listener.name.clone(), loaded);
        }
        Ok(Self(Arc::new(configs)))
    }

    pub(in crate::server) fn of(&self, listener: &str) -> Option<Arc<ServerConfig>> {
        self.0.get(listener).map(|loaded| loaded.config.clone())
    }

    /// The end of each listener's certificate, in seconds since 1970.
    pub fn ends(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0
            .iter()
            .filter_map(|(listener, loaded)| Some((&**listener, loaded.not_after?)))
    }
}

fn load(options: &TlsOptions) -> Result<ListenerTls, (&Path, String)> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = certificates(&options.certificate)?;
    let not_after = chain.first().and_then(|leaf| tls::not_after(leaf));
    let key = private_key(&options.key)?;
    let clients = match &options.client_ca {
        Some(path) => client_verifier(path, &provider)?,
        None => WebPkiClientVerifier::no_client_auth(),
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|why| (options.certificate.as_path(), why.to_string()))?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .map_err(|why| (options.key.as_path(), why.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // No resumption: a resumed session isn't asked for a certificate again, so an expired one, or
    // one whose authority was removed, would still count.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(ListenerTls {
        config: Arc::new(config),
        not_after,
    })
}

fn client_verifier<'a>(
    path: &'a Path,
    provider: &Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, (&'a Path, String)> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|why| (path, why.to_string()))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|why| (path, why.to_string()))?;
    Ok(Arc::new(tls::ExpiryNotingVerifier(verifier)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, (&Path, String)> {
    let found: Result<Vec<_>, _> = rustls_pemfile::certs(&mut open(path)?).collect();
    match found {
        Ok(found) if found.is_empty() => Err((path, "there is no certificate in it".into())),
        Ok(found) => Ok(found),
        Err(why) => Err((path, why.to_string())),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, (&Path, String)> {
    rustls_pemfile::private_key(&mut open(path)?)
        .map_err(|why| (path, why.to_string()))?
        .ok_or_else(|| {
            (
                path,
                "there is no private key in it, or only an encrypted one".into(),
            )
        })
}

fn open(path: &Path) -> Result<BufReader<File>, (&Path, String)> {
    let file = File::open(path).map_err(|why| (path, why.to_string()))?;
    Ok(BufReader::new(file))
}

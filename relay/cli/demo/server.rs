//! Runs the stand-in for the billing server: HTTPS on a loopback port, with a certificate of a
//! throw-away CA.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use callhome_trail::Hash;

/// Knows where the stand-in listens, and by which CA. The stand-in serves as long as the runtime
/// lives.
pub(super) struct StandIn {
    pub(super) address: SocketAddr,
    ca: CertificateDer<'static>,
}

impl StandIn {
    /// Starts to serve under the name `name`. It answers a request with the SHA-256 of the body
    /// that arrived, in hexadecimal.
    pub(super) async fn start(name: &str) -> anyhow::Result<Self> {
        let (ca, tls) = identity(name)?;
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(acceptor.clone(), stream));
            }
        });
        Ok(Self { address, ca })
    }

    /// Makes the configuration of a client that trusts the throw-away CA and no other.
    pub(super) fn client_config(&self) -> Result<ClientConfig, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.clone())?;
        Ok(ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth())
    }
}

/// Makes a CA that only this process knows, and a server certificate that it issued.
fn identity(name: &str) -> anyhow::Result<(CertificateDer<'static>, ServerConfig)> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new([name.to_owned()])?.signed_by(&key, &authority)?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    let tls = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    Ok((authority.der().clone(), tls))
}

/// Serves one connection. Errors are dropped here, because the client sees and reports them.
async fn serve(acceptor: TlsAcceptor, stream: TcpStream) {
    if let Ok(stream) = acceptor.accept(stream).await {
        let _ = http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service_fn(receive))
            .await;
    }
}

async fn receive(request: Request<Incoming>) -> hyper::Result<Response<String>> {
    let body = request.into_body().collect().await?.to_bytes();
    Ok(Response::new(Hash::of(&body).as_str().to_owned()))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

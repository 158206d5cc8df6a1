//! A stand-in for a billing server: real TLS, a throw-away certificate, and an answer that tells
//! what arrived.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use ring::digest::{Context, SHA256};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Takes uploads: reads until the client's `close_notify`, and answers with the SHA-256 in
/// hexadecimal.
#[derive(Clone)]
pub(crate) struct TlsServer {
    pub(crate) address: SocketAddr,
    /// The throw-away CA that its certificate comes from.
    pub(crate) ca_pem: Arc<str>,
    connections: Arc<AtomicUsize>,
}

impl TlsServer {
    pub(crate) async fn start(names: &[&str]) -> Self {
        Self::start_with(names, |stream| async { drop(take_upload(stream).await) }).await
    }

    /// Ignores how `serve` ends, because a client that goes away has its own assertions.
    pub(crate) async fn start_with<F>(
        names: &[&str],
        serve: impl Fn(Stream) -> F + Clone + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let ca = authority();
        let names = names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>();
        let mut params = CertificateParams::new(names).unwrap();
        params.use_authority_key_identifier_extension = true;
        let acceptor = TlsAcceptor::from(Arc::new(server_config(&params, &ca)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            ca_pem: ca.pem().into(),
            connections: Arc::default(),
        };
        let connections = server.connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let acceptor = acceptor.clone();
                let serve = serve.clone();
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream).await;
                    }
                });
            }
        });
        server
    }

    /// Returns how many TCP connections there were, however they ended.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Shakes hands over `stream`, uploads `body`, and returns the digest from the server's answer.
    pub(crate) async fn upload<S>(
        &self,
        stream: S,
        name: &str,
        body: &[u8],
    ) -> std::io::Result<String>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = client_config([self.ca()]);
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut stream = TlsConnector::from(config).connect(name, stream).await?;
        stream.write_all(body).await?;
        stream.shutdown().await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    fn ca(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.ca_pem.as_bytes()).unwrap()
    }

    /// Returns a client that wants `name` of this server and has no socket yet.
    pub(crate) fn client(&self, name: &str) -> ClientConnection {
        client_of(name, [self.ca()])
    }
}

/// Returns a client's first bytes for this server. An address is no server name (RFC 6066, 3), so
/// the client leaves it out.
pub(crate) fn client_hello(server: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    client_of(server, []).write_tls(&mut bytes).unwrap();
    bytes
}

/// Returns the SHA-256 in hexadecimal.
pub(crate) fn digest(bytes: &[u8]) -> String {
    hex(ring::digest::digest(&SHA256, bytes).as_ref())
}

/// Returns bytes in which a lost, doubled or moved part shows.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length.div_ceil(4))
        .flat_map(|n| u32::try_from(n).unwrap().to_le_bytes())
        .take(length)
        .collect()
}

pub(crate) type Stream = tokio_rustls::server::TlsStream<TcpStream>;

async fn take_upload(mut stream: Stream) -> std::io::Result<()> {
    let digest = digest_of(&mut stream).await?;
    stream.write_all(digest.as_bytes()).await?;
    stream.shutdown().await
}

pub(crate) async fn digest_of(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<String> {
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(hex(context.finish().as_ref())),
            count => context.update(&buffer[..count]),
        }
    }
}

/// Makes a CA. Its name is its own, because OpenSSL takes a certificate with its issuer's name for
/// a self-signed one.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "throw-away CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Configures a server with a certificate of its own from the issuer.
pub(crate) fn server_config(
    params: &CertificateParams,
    issuer: &Issuer<'_, KeyPair>,
) -> ServerConfig {
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap()
}

fn client_of<const N: usize>(
    name: &str,
    trusted: [CertificateDer<'static>; N],
) -> ClientConnection {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    ClientConnection::new(client_config(trusted), name).unwrap()
}

fn client_config<const N: usize>(trusted: [CertificateDer<'static>; N]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add(certificate).unwrap();
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

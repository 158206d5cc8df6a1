//! The TLS hop: a handshake, and the presented chain judged twice, by the public roots and by this machine's own.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, ProtocolVersion, RootCertStore, SignatureScheme,
};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificate::Presented;
use super::report::{Finding, Outcome};
use super::target::Target;
use super::verdict::{self, Trust, broken_off, trusted, unanswered, untrusted};
use crate::authority::DnsName;

/// The two sets of roots that a chain is held against.
#[derive(Debug)]
pub(super) struct TrustStores {
    provider: Arc<CryptoProvider>,
    /// Mozilla's, as this binary has it.
    public: Arc<WebPkiServerVerifier>,
    /// This machine's; none where it has no certificate that can be read.
    system: Option<Arc<WebPkiServerVerifier>>,
}

/// A verifier that keeps what it saw. A chain that neither set of roots leads to is refused like any other client would refuse
/// it, so nothing, not even the HEAD, is sent to whoever presents it; but it was looked at by then, and that is what is asked for.
#[derive(Debug)]
struct Examiner {
    stores: Arc<TrustStores>,
    seen: OnceLock<Examination>,
}

#[derive(Debug)]
struct Examination {
    presented: Presented,
    trust: Result<Trust, Error>,
}

impl TrustStores {
    pub(super) fn load() -> anyhow::Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = |roots: RootCertStore| {
            WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone()).build()
        };
        let public = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
        let mut system = RootCertStore::empty();
        system.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Ok(Self {
            public: verifier(public)?,
            // The only error without revocation lists is that there are no roots.
            system: verifier(system).ok(),
            provider,
        })
    }

    pub(super) fn has_system(&self) -> bool {
        self.system.is_some()
    }

    /// Shakes hands as a client of the target does.
    pub(super) async fn shake_hands(
        self: &Arc<Self>,
        stream: TcpStream,
        target: &Target,
    ) -> Outcome<TlsStream<TcpStream>> {
        let host = &target.host;
        let examiner = Arc::new(Examiner {
            stores: Arc::clone(self),
            seen: OnceLock::new(),
        });
        let (connector, name) = connector(&examiner, host).map_err(|error| {
            let seen = format!("no handshake can be made for this name: {error}");
            Finding::fail(seen, "a defect of this program", "report it with the name")
        })?;
        let started = Instant::now();
        let shaken = timeout(WITHIN, connector.connect(name, stream)).await;
        match (shaken, examiner.seen.get()) {
            (Ok(Ok(stream)), Some(Examination { presented, trust })) => {
                let trust = trust
                    .clone()
                    .map_err(|error| untrusted(&error, presented, target))?;
                let version = version(stream.get_ref().1.protocol_version());
                let seen = format!(
                    "{version} in {} ms, SNI {host}",
                    started.elapsed().as_millis()
                );
                let finding = trusted(trust, &seen, presented, host, Timestamp::now());
                Ok((stream, finding))
            }
            (
                _,
                Some(Examination {
                    presented,
                    trust: Err(error),
                }),
            ) => Err(untrusted(error, presented, target)),
            (Ok(Err(error)), _) => Err(broken_off(&error, host)),
            (Ok(Ok(_)), None) => Err(unanswered("a handshake without a certificate", host)),
            (Err(_), _) => {
                let seen = format!("no end of the handshake within {} s", WITHIN.as_secs());
                Err(unanswered(&seen, host))
            }
        }
    }
}

impl ServerCertVerifier for Examiner {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let by = |verifier: &Arc<WebPkiServerVerifier>| {
            verifier
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
                .map(drop)
        };
        let trust = verdict::judge(by(&self.stores.public), self.stores.system.as_ref().map(by));
        let examination = self.seen.get_or_init(|| Examination {
            presented: Presented::read(end_entity, intermediates),
            trust,
        });
        match &examination.trust {
            Ok(_) => Ok(ServerCertVerified::assertion()),
            Err(error) => Err(error.clone()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.stores
            .public
            .verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.stores
            .public
            .verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.stores.public.supported_verify_schemes()
    }
}

fn connector(
    examiner: &Arc<Examiner>,
    host: &DnsName,
) -> anyhow::Result<(TlsConnector, ServerName<'static>)> {
    let mut config = ClientConfig::builder_with_provider(examiner.stores.provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(examiner.clone())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from(host.as_str().to_owned())?;
    Ok((TlsConnector::from(Arc::new(config)), name))
}

fn version(version: Option<ProtocolVersion>) -> &'static str {
    match version {
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
        _ => "TLS",
    }
}

const WITHIN: Duration = Duration::from_secs(10);

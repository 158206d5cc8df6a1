//! The TLS hop: this file makes a handshake, in which both sets of roots judge the presented chain.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, ProtocolVersion, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificate::Presented;
use super::finding::{Finding, HopOutcome};
use super::roots::{Trust, TrustStores};
use super::target::ProbeTarget;
use super::verdict::{broken_off, trusted, unanswered, untrusted};
use crate::authority::DnsName;

/// Verifies a chain, and keeps what it saw.
///
/// It refuses a chain that neither set of roots leads to, as any other client does. Otherwise the
/// HEAD would go to a server that isn't the vendor's. The chain is examined before it is refused,
/// because the finding tells about it.
#[derive(Debug)]
struct Examiner {
    stores: Arc<TrustStores>,
    seen: OnceLock<Examination>,
}

/// Keeps a presented chain, and what the roots made of it.
#[derive(Debug)]
struct Examination {
    presented: Presented,
    trust: Result<Trust, Error>,
}

/// Why no handshake can be tried. Neither error occurs with a checked `DnsName`.
#[derive(Debug, thiserror::Error)]
enum ConnectorError {
    #[error(transparent)]
    Tls(#[from] Error),
    #[error(transparent)]
    Name(#[from] InvalidDnsNameError),
}

/// Shakes hands as a client of the target does, and tells what the chain is worth.
pub(super) async fn shake_hands(
    stores: &Arc<TrustStores>,
    stream: TcpStream,
    target: &ProbeTarget,
) -> HopOutcome<TlsStream<TcpStream>> {
    let host = &target.host;
    let examiner = Arc::new(Examiner {
        stores: Arc::clone(stores),
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
        // A refused chain explains more than the error or the silence that follows the refusal.
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

impl ServerCertVerifier for Examiner {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let examination = self.seen.get_or_init(|| {
            let presented = Presented::read(end_entity, intermediates);
            let stores = &self.stores;
            let trust = stores.judge(end_entity, intermediates, server_name, ocsp_response, now);
            Examination { presented, trust }
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
) -> Result<(TlsConnector, ServerName<'static>), ConnectorError> {
    let mut config = ClientConfig::builder_with_provider(examiner.stores.provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(examiner.clone())
        .with_no_client_auth();
    // Offers what `answer` speaks, so that the server chooses no other protocol.
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

/// Bounds the handshake.
const WITHIN: Duration = Duration::from_secs(10);

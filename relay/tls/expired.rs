//! Tells whose certificate was refused because it has expired.
//!
//! rustls forgets the certificate that it refuses, and its error has no room for a name.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::certificate::{host_names, not_after};
use crate::authority::DnsName;

/// Verifies as the inner one does, and leaves the names of a certificate that has only expired to
/// [`take`].
#[derive(Debug)]
pub struct ExpiryNotingVerifier(pub Arc<dyn ClientCertVerifier>);

thread_local! {
    /// The names in the certificate that this thread refused last. A handshake goes on within one
    /// call, so its caller finds them before another handshake of the thread does.
    static EXPIRED: RefCell<Vec<DnsName>> = const { RefCell::new(Vec::new()) };
}

/// Takes the names that the last handshake step of this thread left.
pub(super) fn take() -> Vec<DnsName> {
    EXPIRED.take()
}

impl ClientCertVerifier for ExpiryNotingVerifier {
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.0.verify_client_cert(end_entity, intermediates, now);
        if let Err(Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) = &verified
            && let Some(end) = not_after(end_entity).and_then(|end| u64::try_from(end).ok())
        {
            // The dates are checked before the issuer is. Check the issuer as of the last valid
            // second, otherwise anyone could claim a name by a certificate of their own making.
            let then = UnixTime::since_unix_epoch(Duration::from_secs(end));
            let issued = self.0.verify_client_cert(end_entity, intermediates, then);
            if issued.is_ok() {
                EXPIRED.set(host_names(end_entity));
            }
        }
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.0.requires_raw_public_keys()
    }
}

//! Judges a chain by two sets of roots: the public ones, and those of this machine.

use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier as _;
use rustls::client::{VerifierBuilderError, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, Error, RootCertStore};

/// Holds the two sets of roots that a chain is judged by. If only this machine's roots accept a
/// chain, it comes from a device that inspects TLS, or from a private or very new CA.
#[derive(Debug)]
pub struct TrustStores {
    pub(super) provider: Arc<CryptoProvider>,
    /// Mozilla's roots, as this binary has them.
    pub(super) public: Arc<WebPkiServerVerifier>,
    /// This machine's roots. None where it has no certificate that can be read.
    system: Option<Arc<WebPkiServerVerifier>>,
}

/// Tells which roots a chain leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    Public,
    /// The chain leads to this machine's roots only.
    Local,
}

/// Tells that the public roots make no verifier. That is a defect of this binary.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct RootsError(#[from] VerifierBuilderError);

impl TrustStores {
    /// Reads this machine's roots beside the public ones.
    pub fn load() -> Result<Self, RootsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = |roots: RootCertStore| {
            WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone()).build()
        };
        let public = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
        let mut system = RootCertStore::empty();
        system.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Ok(Self {
            public: verifier(public)?,
            // Without revocation lists, a missing root is the only error that `build` knows.
            system: verifier(system).ok(),
            provider,
        })
    }

    /// Whether this machine has roots of its own that can be read.
    pub fn has_system(&self) -> bool {
        self.system.is_some()
    }

    /// Judges a chain by both sets of roots.
    pub(super) fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<Trust, Error> {
        let by = |verifier: &Arc<WebPkiServerVerifier>| {
            verifier
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
                .map(drop)
        };
        combine(by(&self.public), self.system.as_ref().map(by))
    }
}

/// Makes one judgement out of two. When both are errors, "unknown issuer" gives way to the other
/// error, because that one comes from the roots that knew the issuer.
fn combine(public: Result<(), Error>, system: Option<Result<(), Error>>) -> Result<Trust, Error> {
    match (public, system) {
        (Ok(()), _) => Ok(Trust::Public),
        (Err(_), Some(Ok(()))) => Ok(Trust::Local),
        (Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)), Some(Err(error)))
        | (Err(error), _) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad<T>(error: CertificateError) -> Result<T, Error> {
        Err(Error::InvalidCertificate(error))
    }

    #[test]
    fn a_chain_is_judged_by_both_sets_of_roots() {
        use CertificateError::{Expired, NotValidForName, UnknownIssuer};
        for (public, system, expected) in [
            (Ok(()), Some(Ok(())), Ok(Trust::Public)),
            (Ok(()), Some(bad(UnknownIssuer)), Ok(Trust::Public)),
            (Ok(()), None, Ok(Trust::Public)),
            (bad(UnknownIssuer), Some(Ok(())), Ok(Trust::Local)),
            (
                bad(UnknownIssuer),
                Some(bad(UnknownIssuer)),
                bad(UnknownIssuer),
            ),
            (bad(UnknownIssuer), None, bad(UnknownIssuer)),
            // The more telling error is the one of the roots that knew the issuer.
            (
                bad(UnknownIssuer),
                Some(bad(NotValidForName)),
                bad(NotValidForName),
            ),
            (bad(Expired), Some(bad(UnknownIssuer)), bad(Expired)),
        ] {
            assert_eq!(combine(public, system), expected);
        }
    }
}

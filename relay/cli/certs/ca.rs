//! Keeps the CA: the first run makes it, later runs find it.

use std::path::Path;
use std::{fs, io};

use anyhow::Context as _;
use jiff::Timestamp;
use jiff::tz::Offset;
use rcgen::{BasicConstraints, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _};
use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::files::NewFile;
use super::template::{Validity, blank};
use crate::cli::exit::Refused;

/// A CA with its key, ready to issue.
pub(super) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    /// The end of its validity, in seconds since 1970.
    ends: i64,
}

impl Ca {
    /// Makes a new CA, without writing it. Its files come in the order to write them in: the key
    /// first, so that the certificate is never there without it.
    pub(super) fn make(validity: Validity) -> anyhow::Result<(Self, [NewFile; 2])> {
        let key = KeyPair::generate()?;
        // The name has a part of the key's digest. Otherwise a machine that trusts two such CAs
        // would mistake one for the other.
        let mark = digest(&SHA256, &key.subject_public_key_info());
        let mark = mark.as_ref().iter().take(4).map(|it| format!("{it:02x}"));
        let name = format!("callhome-relay CA {}", mark.collect::<String>());
        let mut params = blank(&name, validity)?;
        // The CA issues to machines, not to other CAs.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        let files = [
            NewFile::key(
                KEY.to_owned(),
                "the CA's private key: keep it off the relay".to_owned(),
                key.serialize_pem(),
            ),
            NewFile::certificate(
                CERTIFICATE.to_owned(),
                format!("the CA's certificate, until {}", validity.until),
                certificate.pem(),
            ),
        ];
        let ca = Self {
            certificate: certificate.der().clone(),
            ends: params.not_after.unix_timestamp(),
            issuer: Issuer::new(params, key),
        };
        Ok((ca, files))
    }

    /// Reads the CA of a directory. Gives none if the directory has none.
    pub(super) fn load(directory: &Path) -> anyhow::Result<Option<Self>> {
        let (path, key_path) = (directory.join(CERTIFICATE), directory.join(KEY));
        let (pem, key) = match (read(&path)?, read(&key_path)?) {
            (None, None) => return Ok(None),
            (Some(pem), Some(key)) => (pem, key),
            (Some(_), None) => return Err(incomplete(&path, &key_path).into()),
            (None, Some(_)) => return Err(incomplete(&key_path, &path).into()),
        };
        let refuse = |what: &str| Refused(format!("{} {what}", path.display()));
        let key = KeyPair::from_pem(&key)
            .map_err(|_| Refused(format!("{} is no private key in PEM", key_path.display())))?;
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| refuse("is no certificate in PEM"))?;
        let (_, parsed) =
            X509Certificate::from_der(&certificate).map_err(|_| refuse("can't be read"))?;
        if !parsed.is_ca() {
            return Err(refuse("is not the certificate of a CA").into());
        }
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(refuse("has another key than the one in ca.key").into());
        }
        let ends = parsed.validity().not_after.timestamp();
        let issuer = Issuer::from_ca_cert_der(&certificate, key)
            .map_err(|error| refuse(&format!("can't issue anything: {error}")))?;
        Ok(Some(Self {
            issuer,
            certificate: certificate.clone(),
            ends,
        }))
    }

    pub(super) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// Refuses a validity that ends after the CA does, because no peer takes a certificate whose CA
    /// has expired.
    pub(super) fn check_outlives(&self, validity: Validity) -> anyhow::Result<()> {
        let ends = Offset::UTC
            .to_datetime(Timestamp::from_second(self.ends)?)
            .date();
        if validity.until > ends {
            let why = format!(
                "the CA ends on {ends}: ask for fewer --days, or make a new one in another directory"
            );
            return Err(Refused(why).into());
        }
        Ok(())
    }

    /// Gives the SHA-256 of the certificate, in the form that OpenSSL and browsers print.
    pub(super) fn fingerprint(&self) -> String {
        let bytes = digest(&SHA256, &self.certificate);
        let pairs: Vec<String> = bytes
            .as_ref()
            .iter()
            .map(|it| format!("{it:02X}"))
            .collect();
        pairs.join(":")
    }
}

fn read(path: &Path) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

fn incomplete(there: &Path, missing: &Path) -> Refused {
    Refused(format!(
        "{} is there and {} isn't: bring it, or choose another directory",
        there.display(),
        missing.display()
    ))
}

const CERTIFICATE: &str = "ca.pem";
const KEY: &str = "ca.key";

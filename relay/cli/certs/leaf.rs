//! Issues certificates of the CA: the relay's, and its clients'.

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType};

use super::ca::Ca;
use super::files::NewFile;
use super::template::{Validity, blank};
use crate::authority::{DnsName, Host};

/// Issues the relay's certificate, for all names that clients reach the relay by.
pub(super) fn server(names: &[Host], ca: &Ca, validity: Validity) -> anyhow::Result<[NewFile; 2]> {
    let subject = names.first().map(ToString::to_string).unwrap_or_default();
    let mut params = leaf(&subject, ExtendedKeyUsagePurpose::ServerAuth, validity)?;
    for name in names {
        params.subject_alt_names.push(match name {
            Host::Name(name) => dns(name)?,
            Host::Literal(address) => SanType::IpAddress(*address),
        });
    }
    issue("relay", "the relay's", &params, ca, validity)
}

/// Issues the certificate of a client.
pub(super) fn client(name: &DnsName, ca: &Ca, validity: Validity) -> anyhow::Result<[NewFile; 2]> {
    let mut params = leaf(name.as_str(), ExtendedKeyUsagePurpose::ClientAuth, validity)?;
    params.subject_alt_names.push(dns(name)?);
    let stem = format!("client-{name}");
    issue(&stem, &format!("{name}'s"), &params, ca, validity)
}

fn leaf(
    subject: &str,
    purpose: ExtendedKeyUsagePurpose,
    validity: Validity,
) -> anyhow::Result<CertificateParams> {
    // A common name has at most 64 characters (RFC 5280, A.1). A longer name can be left out here,
    // because peers look at the alternative names only.
    let common_name = if subject.len() <= 64 {
        subject
    } else {
        "callhome-relay"
    };
    let mut params = blank(common_name, validity)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// Makes a key and its certificate. The key comes first, so that it is written first: otherwise a
/// certificate could be there without its key.
fn issue(
    stem: &str,
    whose: &str,
    params: &CertificateParams,
    ca: &Ca,
    validity: Validity,
) -> anyhow::Result<[NewFile; 2]> {
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, ca.issuer())?;
    Ok([
        NewFile::key(
            format!("{stem}.key"),
            format!("{whose} private key"),
            key.serialize_pem(),
        ),
        NewFile::certificate(
            format!("{stem}.pem"),
            format!("{whose} certificate, until {}", validity.until),
            certificate.pem(),
        ),
    ])
}

fn dns(name: &DnsName) -> anyhow::Result<SanType> {
    Ok(SanType::DnsName(name.as_str().try_into()?))
}

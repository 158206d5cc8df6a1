//! The certificates that the CA issues, and what all certificates here have in common.

use jiff::tz::Offset;
use jiff::{Timestamp, ToSpan as _, civil};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::ca::Ca;
use super::files::NewFile;
use crate::authority::{DnsName, Host};

/// Whole days, in UTC.
#[derive(Clone, Copy, Debug)]
pub(super) struct Validity {
    from: civil::Date,
    pub(super) until: civil::Date,
}

impl Validity {
    /// From yesterday on, because clocks differ, for so many days from today.
    pub(super) fn of_days(days: u16) -> anyhow::Result<Self> {
        let today = Offset::UTC.to_datetime(Timestamp::now()).date();
        Ok(Self {
            from: today.checked_sub(1.day())?,
            until: today.checked_add(i32::from(days).days())?,
        })
    }
}

/// The relay's own, for all the names that clients reach it by.
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

pub(super) fn client(name: &DnsName, ca: &Ca, validity: Validity) -> anyhow::Result<[NewFile; 2]> {
    let mut params = leaf(name.as_str(), ExtendedKeyUsagePurpose::ClientAuth, validity)?;
    params.subject_alt_names.push(dns(name)?);
    let stem = format!("client-{name}");
    issue(&stem, &format!("{name}'s"), &params, ca, validity)
}

/// A certificate of this common name that says nothing more yet.
pub(super) fn blank(common_name: &str, validity: Validity) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::default();
    let midnight = |date: civil::Date| {
        let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
        rcgen::date_time_ymd(date.year().into(), month, day)
    };
    params.not_before = midnight(validity.from);
    params.not_after = midnight(validity.until);
    params.serial_number = Some(SerialNumber::from_slice(&serial()?));
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    Ok(params)
}

fn leaf(
    subject: &str,
    purpose: ExtendedKeyUsagePurpose,
    validity: Validity,
) -> anyhow::Result<CertificateParams> {
    // Peers look at the alternative names only; a common name has 64 characters at most (RFC 5280, A.1).
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

/// The key comes first, so that no certificate is ever there without it.
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

/// 126 random bits of 128: positive, and never shorter (RFC 5280, 4.1.2.2).
fn serial() -> anyhow::Result<[u8; 16]> {
    let mut serial = [0; 16];
    SystemRandom::new()
        .fill(&mut serial)
        .map_err(|_| anyhow::anyhow!("the system has no random numbers"))?;
    serial[0] = serial[0] & 0x3f | 0x40;
    Ok(serial)
}

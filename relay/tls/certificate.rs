//! Reads out of a certificate the names it is for and the time it ends.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use crate::authority::DnsName;

/// Lists the host names among the alternative names of a certificate (RFC 5280, 4.2.1.6), in their
/// order and each once.
///
/// Wildcards are left out, because they are for servers, and so are names of other kinds. The
/// subject is left out too, because a CA need not check it any more.
pub fn host_names(der: &[u8]) -> Vec<DnsName> {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return Vec::new();
    };
    // Two such extensions are an error, and verification has refused the certificate before.
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let mut found: Vec<DnsName> = Vec::new();
    for name in &names.value.general_names {
        if let GeneralName::DNSName(name) = name
            && let Ok(name) = name.parse()
            && !found.contains(&name)
        {
            found.push(name);
        }
    }
    found
}

/// Gives the end of a certificate, in seconds since 1970.
pub fn not_after(der: &[u8]) -> Option<i64> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

/// Says that a certificate which ends at `end` has ended, or ends within a month. Gives nothing
/// where it is good for longer.
pub fn ends_soon(end: i64, now: i64) -> Option<String> {
    let days = (end - now).div_euclid(86_400);
    match days {
        ..0 => Some("has ended: no client takes it any more".into()),
        0..30 => Some(format!("ends in {days} days")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn names(names: Vec<SanType>) -> Vec<String> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let found = host_names(certificate.der());
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_host_names_count() {
        let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
        assert_eq!(
            names(vec![
                dns("ZVM-Ams-1.Example."),
                dns("*.example"),
                dns("zvm-ams-1.example"),
                SanType::IpAddress([10, 0, 0, 1].into()),
                SanType::Rfc822Name("a@b.example".try_into().unwrap()),
                SanType::URI("spiffe://b.example/zvm".try_into().unwrap()),
                dns("a b"),
                dns("b"),
            ]),
            ["zvm-ams-1.example", "b"]
        );
        assert_eq!(names(Vec::new()), [""; 0]);
        assert_eq!(host_names(b"no certificate"), []);
    }
}

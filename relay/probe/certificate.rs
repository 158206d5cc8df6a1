//! Reads what a chain says of itself: who issued it, and when it ends. Nothing here is verified,
//! because the roots judge the chain elsewhere.

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Keeps what a finding shows of a presented chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Presented {
    /// The topmost issuer that the chain names.
    pub(super) issuer: String,
    /// The end of the server's own certificate, in seconds since 1970. None when it can't be read.
    pub(super) not_after: Option<i64>,
}

impl Presented {
    pub(super) fn read(leaf: &CertificateDer<'_>, rest: &[CertificateDer<'_>]) -> Self {
        let Some(leaf) = parse(leaf) else {
            return Self {
                issuer: "unreadable".to_owned(),
                not_after: None,
            };
        };
        let rest: Vec<_> = rest.iter().filter_map(parse).collect();
        let mut issuer = leaf.issuer();
        // At most one step per certificate: otherwise issuers that name each other never end.
        for _ in &rest {
            let above = rest.iter().find(|it| it.subject() == issuer);
            issuer = above.map_or(issuer, |it| it.issuer());
        }
        Self {
            issuer: describe(issuer),
            not_after: Some(leaf.validity().not_after.timestamp()),
        }
    }
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    X509Certificate::from_der(der).ok().map(|(_, it)| it)
}

/// Gives the common name, and the organisation where the name has both. A name with neither is
/// given whole.
fn describe(name: &X509Name<'_>) -> String {
    let common_name = name.iter_common_name().next().map(text);
    let organisation = name.iter_organization().next().map(text);
    let described = match (common_name, organisation) {
        (Some(name), Some(organisation)) if name != organisation => {
            format!("{name} ({organisation})")
        }
        (Some(name), _) | (None, Some(name)) => name,
        (None, None) => match name.to_string() {
            empty if empty.is_empty() => "without a name".to_owned(),
            whole => whole,
        },
    };
    described.chars().take(MAX_NAME).collect()
}

/// Gives the value of an attribute. Old CAs write two bytes a character (`BMPString`); without the
/// zeros, that is readable too.
fn text(attribute: &AttributeTypeAndValue<'_>) -> String {
    let bytes = attribute.attr_value().data;
    String::from_utf8_lossy(bytes).replace('\0', "")
}

/// Bounds a name, because a certificate may have kilobytes of it.
const MAX_NAME: usize = 200;

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, DnValue,
        IsCa, KeyPair, date_time_ymd,
    };

    use super::*;

    fn params(entries: &[(DnType, DnValue)]) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in entries {
            params.distinguished_name.push(kind.clone(), value.clone());
        }
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    fn named(name: &str) -> (DnType, DnValue) {
        (DnType::CommonName, DnValue::Utf8String(name.to_owned()))
    }

    fn organisation(name: &str) -> (DnType, DnValue) {
        (
            DnType::OrganizationName,
            DnValue::Utf8String(name.to_owned()),
        )
    }

    #[test]
    fn the_topmost_issuer_is_named_in_whatever_order_the_chain_comes() {
        let key = || KeyPair::generate().unwrap();
        let root =
            CertifiedIssuer::self_signed(params(&[named("Root"), organisation("Org")]), key());
        let root = root.unwrap();
        let middle = CertifiedIssuer::signed_by(params(&[named("Middle")]), key(), &root).unwrap();
        let mut leaf = params(&[named("leaf")]);
        leaf.not_after = date_time_ymd(2030, 1, 2);
        let leaf = leaf.signed_by(&key(), &middle).unwrap();

        let alone = Presented::read(leaf.der(), &[]);
        assert_eq!(alone.issuer, "Middle");
        assert_eq!(alone.not_after, Some(1_893_542_400));
        for chain in [
            vec![middle.der().clone()],
            vec![middle.der().clone(), root.der().clone()],
            vec![root.der().clone(), middle.der().clone()],
        ] {
            assert_eq!(Presented::read(leaf.der(), &chain).issuer, "Root (Org)");
        }
    }

    #[test]
    fn a_name_is_shown_by_what_it_has() {
        let bmp = DnValue::BmpString("Old CA".try_into().unwrap());
        let country = DnValue::PrintableString("NL".try_into().unwrap());
        for (entries, expected) in [
            (vec![named("CA"), organisation("CA")], "CA"),
            (vec![organisation("Org")], "Org"),
            (vec![(DnType::CommonName, bmp)], "Old CA"),
            (vec![(DnType::CountryName, country)], "C=NL"),
            (vec![], "without a name"),
        ] {
            let key = KeyPair::generate().unwrap();
            let certificate = params(&entries).self_signed(&key).unwrap();
            assert_eq!(Presented::read(certificate.der(), &[]).issuer, expected);
        }
        let key = KeyPair::generate().unwrap();
        let endless = params(&[named(&"x".repeat(5000))])
            .self_signed(&key)
            .unwrap();
        assert_eq!(Presented::read(endless.der(), &[]).issuer.len(), MAX_NAME);
    }

    #[test]
    fn what_is_no_certificate_is_said_to_be_none() {
        let garbage = CertificateDer::from(vec![0x30, 0x82, 0xff]);
        let presented = Presented::read(&garbage, &[]);
        assert_eq!(
            (presented.issuer.as_str(), presented.not_after),
            ("unreadable", None)
        );
    }
}

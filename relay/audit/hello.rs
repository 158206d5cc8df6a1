//! What a record has of a `ClientHello`.

use callhome_trail::Tls;

use crate::authority::ServerName;
use crate::tls::ClientHello;

/// The members of the record that describe a `ClientHello`.
pub(super) fn described(hello: ClientHello) -> Tls {
    let sni = match hello.server_name {
        ServerName::Absent => None,
        ServerName::Host(host) => Some(host.to_string().into()),
        ServerName::Invalid => Some("(invalid)".into()),
    };
    let versions = hello.versions.iter();
    Tls {
        sni,
        alpn: hello.alpn.into_iter().map(Into::into).collect(),
        versions: versions.map(|version| version.to_string().into()).collect(),
        ech: hello.ech,
        hello_bytes: hello.length as u64,
    }
}

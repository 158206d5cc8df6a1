//! The ways to a relay: what a listener is configured to, and what a client is told.

use std::net::SocketAddr;

use crate::support::pki::{Pki, Use};

pub(super) struct Way {
    /// The listener's keys, beyond its name and address.
    keys: String,
    /// The scheme, and the credentials, of the proxy's URL.
    scheme: &'static str,
    /// Where the certificates are from: the relay's, and the client's as `client.pem` if it needs one.
    pub(super) pki: Option<Pki>,
    pub(super) certified: bool,
    /// Where the client sends the PROXY header itself.
    pub(super) announces: bool,
    /// What a balancer, in between, is told of the relay.
    pub(super) balancer: Option<&'static str>,
    /// The server name is all that tells where a client wants to go.
    pub(super) by_server_name: bool,
}

pub(super) fn http() -> Way {
    Way {
        keys: String::new(),
        scheme: "http://",
        pki: None,
        certified: false,
        announces: false,
        balancer: None,
        by_server_name: false,
    }
}

/// As for a proxy that wants some. The relay wants none, and they must not be found in its trail.
pub(super) fn http_with_credentials() -> Way {
    Way {
        scheme: "http://user:S3CRET@",
        ..http()
    }
}

pub(super) const SECRET: &str = "S3CRET";

pub(super) fn https() -> Way {
    let pki = Pki::with_relay();
    Way {
        keys: pki.tls(None),
        scheme: "https://",
        pki: Some(pki),
        ..http()
    }
}

/// For clients whose certificates are the relay's CA's.
pub(super) fn https_with_certificate() -> Way {
    let pki = Pki::with_relay();
    pki.issue("client", Use::Client, &["zvm-1"]);
    Way {
        keys: format!(
            "{}\n[[client]]\nname = \"zvm-1\"\ncertificate_names = [\"zvm-1\"]",
            pki.tls(Some(&pki))
        ),
        scheme: "https://",
        pki: Some(pki),
        certified: true,
        ..http()
    }
}

pub(super) fn balanced() -> Way {
    Way {
        keys: BALANCED.into(),
        balancer: Some("send-proxy-v2"),
        ..http()
    }
}

/// As for a machine whose name server says that the host is at the relay's address.
pub(super) fn sni() -> Way {
    Way {
        by_server_name: true,
        ..http()
    }
}

pub(super) fn sni_balanced() -> Way {
    Way {
        keys: BALANCED.into(),
        balancer: Some("send-proxy"),
        ..sni()
    }
}

pub(super) fn sni_with_proxy_header() -> Way {
    Way {
        keys: BALANCED.into(),
        announces: true,
        ..sni()
    }
}

const BALANCED: &str = "proxy_protocol_from = [\"127.0.0.1\"]";

impl Way {
    /// The relay's keys, where the server is on this port.
    pub(super) fn keys(&self, port: u16) -> String {
        let mode = if self.by_server_name {
            format!("mode = \"sni\"\ntarget_port = {port}\n")
        } else {
            String::new()
        };
        format!(
            "[[listener]]\nname = \"proxy\"\nbind = \"127.0.0.1:0\"\n{mode}{}\n",
            self.keys
        )
    }

    /// What a client is told of the proxy that is at this address.
    pub(super) fn proxy(&self, address: SocketAddr) -> String {
        if self.by_server_name {
            address.to_string()
        } else {
            format!("{}{address}", self.scheme)
        }
    }
}

//! The ways to a relay: how a listener is configured, and the proxy that a client gets.

use std::net::SocketAddr;

use crate::support::pki::{Pki, Use};

pub(super) struct Way {
    /// The listener's keys, beyond its name and address.
    keys: String,
    /// The scheme of the proxy's URL, and the credentials if there are any.
    scheme: &'static str,
    /// Has the relay's certificate, and the client's as `client.pem` if it needs one.
    pub(super) pki: Option<Pki>,
    pub(super) certified: bool,
    /// Whether the client sends the PROXY header itself.
    pub(super) announces: bool,
    /// How the balancer in between is configured for the relay.
    pub(super) balancer: Option<&'static str>,
    /// Whether the server name alone tells the target.
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

/// Gives the client credentials. The relay needs none and must not write them into its trail.
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

/// Admits clients whose certificates come from the relay's CA.
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

/// Behaves like a machine whose name server has the relay's address for the host.
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
    /// Returns the relay's keys for a server on this port.
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

    /// Returns the name of the proxy at this address, as a client takes it.
    pub(super) fn proxy(&self, address: SocketAddr) -> String {
        if self.by_server_name {
            address.to_string()
        } else {
            format!("{}{address}", self.scheme)
        }
    }
}

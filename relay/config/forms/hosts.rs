//! Host names, and hosts with their ports.

use std::net::IpAddr;

use callhome_settings::{Form, Mistake};

use crate::authority::{Authority, AuthorityError, DnsName};

/// A host name or an address as the Host field of a request has it, but without the port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct HostName(pub(in crate::config) String);

impl Form for DnsName {
    const NOUN: &'static str = "a host name";
    const EXAMPLE: &'static str = "zvm-ams-1";

    fn read(text: &str) -> Result<Self, Mistake> {
        text.parse().map_err(|error: AuthorityError| {
            Mistake::new(
                error.to_string(),
                "write a host name as the certificate has it",
            )
        })
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Form for Authority {
    const NOUN: &'static str = "a host and port";
    const EXAMPLE: &'static str = "relay-a.dmz.example:3128";

    fn read(text: &str) -> Result<Self, Mistake> {
        text.parse().map_err(|error: AuthorityError| {
            Mistake::new(
                error.to_string(),
                "write a name or an address, and the port: \"relay-a.dmz.example:3128\"",
            )
        })
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Form for HostName {
    const NOUN: &'static str = "a host name";
    const EXAMPLE: &'static str = "relay.dmz.example";

    fn read(text: &str) -> Result<Self, Mistake> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(address.to_string()));
        }
        text.parse::<DnsName>()
            .map(|name| Self(name.to_string()))
            .map_err(|error| {
                Mistake::new(
                    error.to_string(),
                    "write a name or an address, without the port",
                )
            })
    }

    fn write(&self) -> String {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Where an address is needed, the message calls a text "a name" exactly if it is one.
        /// `callhome_settings` judges that without `DnsName`, so the two rules must agree.
        #[test]
        fn an_address_that_is_a_name_is_called_one(text in "[0-9a-zA-Z.-]{0,20}|[a-z0-9.]{240,260}") {
            let letters = text.bytes().any(|byte| byte.is_ascii_alphabetic());
            let called = IpAddr::read(&text).is_err_and(|it| it.label.as_deref() == Some("a name"));
            prop_assert_eq!(called, letters && text.parse::<DnsName>().is_ok());
        }
    }
}

//! The syslog server that the trail is shipped to, as the configuration names it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::authority::{Authority, AuthorityError};

/// A syslog server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogServer {
    /// Syslog over TLS (RFC 5425).
    Tls(Authority),
    /// Octet-counted messages over TCP (RFC 6587, 3.4.1).
    Tcp(Authority),
    /// A datagram for each message (RFC 5426). A lost datagram isn't noticed.
    Udp(Authority),
    /// A datagram for each message, to a socket of this machine.
    Unix(PathBuf),
}

/// Why a text names no syslog server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyslogServerError {
    #[error("no scheme that syslog is sent by")]
    Scheme,
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error("the path of a socket is absolute")]
    Path,
}

impl SyslogServer {
    /// Whether the server proves its identity.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

impl FromStr for SyslogServer {
    type Err = SyslogServerError;

    fn from_str(text: &str) -> Result<Self, SyslogServerError> {
        let (scheme, rest) = text.split_once("://").ok_or(SyslogServerError::Scheme)?;
        let authority = || Authority::parse(rest.as_bytes()).map_err(SyslogServerError::from);
        match scheme {
            "tls" => authority().map(Self::Tls),
            "tcp" => authority().map(Self::Tcp),
            "udp" => authority().map(Self::Udp),
            "unix" if rest.len() > 1 && rest.starts_with('/') => Ok(Self::Unix(rest.into())),
            "unix" => Err(SyslogServerError::Path),
            _ => Err(SyslogServerError::Scheme),
        }
    }
}

impl fmt::Display for SyslogServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(authority) => write!(f, "tls://{authority}"),
            Self::Tcp(authority) => write!(f, "tcp://{authority}"),
            Self::Udp(authority) => write!(f, "udp://{authority}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_reads_as_it_is_written() {
        for text in [
            "tls://syslog.example:6514",
            "tcp://10.0.0.5:601",
            "udp://[2001:db8::5]:514",
            "unix:///dev/log",
        ] {
            let server: SyslogServer = text.parse().unwrap();
            assert_eq!(server.to_string(), text);
        }
    }

    #[test]
    fn what_names_no_server_is_refused() {
        for (text, error) in [
            ("syslog.example:6514", SyslogServerError::Scheme),
            ("https://syslog.example:6514", SyslogServerError::Scheme),
            ("TLS://syslog.example:6514", SyslogServerError::Scheme),
            ("unix://dev/log", SyslogServerError::Path),
            ("unix:///", SyslogServerError::Path),
        ] {
            assert_eq!(text.parse::<SyslogServer>(), Err(error), "{text}");
        }
        for text in [
            "tls://syslog.example",
            "tcp://:601",
            "tcp://a b:601",
            "udp://h:0",
        ] {
            let error = text.parse::<SyslogServer>().unwrap_err();
            assert!(
                matches!(error, SyslogServerError::Authority(_)),
                "{text}: {error}"
            );
        }
    }
}

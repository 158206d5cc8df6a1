//! Ways to sync and syslog servers, for `[audit]`.

use callhome_settings::{Form, Mistake, Timeout};

use crate::audit::{Sync, SyslogServer, SyslogServerError};

impl Form for Sync {
    const NOUN: &'static str = "a way to sync";
    const EXAMPLE: &'static str = "1s";

    fn read(text: &str) -> Result<Self, Mistake> {
        match text {
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => Timeout::read(text)
                .map(|every| Self::Every(every.0))
                .map_err(|mistake| Mistake {
                    help: "write \"always\", \"never\", or a duration: \"1s\"".into(),
                    ..mistake
                }),
        }
    }

    fn write(&self) -> String {
        match self {
            Self::Always => "always".to_owned(),
            Self::Never => "never".to_owned(),
            Self::Every(period) => Timeout(*period).write(),
        }
    }
}

impl Form for SyslogServer {
    const NOUN: &'static str = "a syslog server";
    const EXAMPLE: &'static str = "tls://syslog.example:6514";
    const PATTERN: Option<&'static str> = Some("^(tls|tcp|udp|unix)://.+$");

    fn read(text: &str) -> Result<Self, Mistake> {
        text.parse().map_err(|error: SyslogServerError| {
            let help = match error {
                SyslogServerError::Path => "write \"unix:///dev/log\"",
                SyslogServerError::Authority(_) => {
                    "write a host and a port: \"tls://syslog.example:6514\""
                }
                SyslogServerError::Scheme => {
                    "write \"tls://host:6514\", \"tcp://host:601\", \"unix:///dev/log\", or, for viewing only, \"udp://host:514\""
                }
            };
            Mistake::new(error.to_string(), help)
        })
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

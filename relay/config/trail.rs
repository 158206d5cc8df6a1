//! The keys of `[audit]`: where the trail goes, and how it is kept.

use std::path::PathBuf;
use std::time::Duration;

use super::check::{Findings, minutes, seconds};
use super::error::Problem;
use super::file;
use super::units::{Size, Timeout};
use super::value::{Form, Mistake, Text};
use crate::audit::{self, Syslog, SyslogServer, SyslogServerError};

impl Findings {
    pub(super) fn audit(
        &mut self,
        file: &file::Audit,
        state_directory: Option<PathBuf>,
    ) -> audit::AuditOptions {
        let directory = self
            .path("directory", file.directory.as_ref())
            .or_else(|| state_directory.map(|state| state.join("audit")));
        let syslog = self.syslog(file, directory.is_some());
        let stdout = match &file.stdout {
            Some(stdout) if !stdout.value && directory.is_none() => {
                self.problem(
                    Problem::new(stdout.span.clone(), "the audit trail would go nowhere")
                        .help("set `directory`, or let the trail go to standard output"),
                );
                false
            }
            Some(stdout) => stdout.value,
            None => directory.is_none(),
        };
        let rotate_size = self.read_or(file.rotate_size.as_ref(), Size(64 << 20));
        let max_size = self.read_or(file.max_size.as_ref(), Size(2 << 30));
        if let Some(size) = file.rotate_size.as_ref().or(file.max_size.as_ref())
            && rotate_size.0.saturating_mul(2) > max_size.0
        {
            let title = "`max_size` has no room for two segments of `rotate_size`";
            self.problem(
                Problem::new(size.span.clone(), title)
                    .help("lower `rotate_size`, or raise `max_size`"),
            );
        }
        let mut timeout =
            |text: &Option<Text<Timeout>>, default| self.read_or(text.as_ref(), Timeout(default)).0;
        audit::AuditOptions {
            directory,
            stdout,
            rotate_size: rotate_size.0 as u64,
            rotate_every: timeout(&file.rotate_every, days(1)),
            keep: timeout(&file.keep, days(400)),
            max_size: max_size.0 as u64,
            seal_every: timeout(&file.seal_every, minutes(10)),
            sync: self.read_or(file.sync.as_ref(), audit::Sync::Every(seconds(1))),
            on_failure: file
                .on_failure
                .as_ref()
                .map_or(audit::OnFailure::Refuse, |it| it.value.into()),
            syslog,
        }
    }

    fn syslog(&mut self, file: &file::Audit, has_directory: bool) -> Option<Syslog> {
        let ca = self.path("syslog_ca", file.syslog_ca.as_ref());
        let server = file.syslog.as_ref().and_then(|text| self.read(text));
        if let Some(written) = &file.syslog
            && !has_directory
        {
            let title = "there is no `directory` to ship the audit trail from";
            self.problem(
                Problem::new(written.span.clone(), title)
                    .help("set `directory`: what the server misses waits there"),
            );
        }
        if let Some(written) = &file.syslog_ca
            && server.as_ref().is_none_or(|server| !server.is_tls())
        {
            // A server that can't be read has been reported.
            if server.is_some() || file.syslog.is_none() {
                self.problem(
                    Problem::new(written.span.clone(), "`syslog_ca` vouches for nobody")
                        .help("it is for a `syslog` server that is written \"tls://…\""),
                );
            }
        }
        server.map(|server| Syslog { server, ca })
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

const fn days(count: u64) -> Duration {
    Duration::from_hours(24 * count)
}

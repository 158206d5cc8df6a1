//! `[audit]`: where the trail goes, and how it is kept.

use std::path::PathBuf;
use std::time::Duration;

use callhome_settings::{Findings, Problem, Size, Text, Timeout};

use crate::audit::{AuditOptions, OnFailure, Sync, Syslog};
use crate::config::file::AuditTable;

pub(in crate::config) fn audit(
    file: &AuditTable,
    state_directory: Option<PathBuf>,
    findings: &mut Findings,
) -> AuditOptions {
    let directory = findings
        .path("directory", file.directory.as_ref())
        .or_else(|| state_directory.map(|state| state.join("audit")));
    let syslog = syslog(file, directory.is_some(), findings);
    let stdout = match &file.stdout {
        Some(stdout) if !stdout.value && directory.is_none() => {
            findings.problem(
                Problem::new(stdout.span.clone(), "the audit trail would go nowhere")
                    .help("set `directory`, or let the trail go to standard output"),
            );
            false
        }
        Some(stdout) => stdout.value,
        None => directory.is_none(),
    };
    let rotate_size = findings.read_or(file.rotate_size.as_ref(), Size(64 << 20));
    let max_size = findings.read_or(file.max_size.as_ref(), Size(2 << 30));
    if let Some(size) = file.rotate_size.as_ref().or(file.max_size.as_ref())
        && rotate_size.0.saturating_mul(2) > max_size.0
    {
        let title = "`max_size` has no room for two segments of `rotate_size`";
        findings.problem(
            Problem::new(size.span.clone(), title).help("lower `rotate_size`, or raise `max_size`"),
        );
    }
    let mut timeout =
        |text: &Option<Text<Timeout>>, default| findings.read_or(text.as_ref(), Timeout(default)).0;
    AuditOptions {
        directory,
        stdout,
        rotate_size: rotate_size.0 as u64,
        rotate_every: timeout(&file.rotate_every, Duration::from_hours(24)),
        keep: timeout(&file.keep, Duration::from_hours(400 * 24)),
        max_size: max_size.0 as u64,
        seal_every: timeout(&file.seal_every, Duration::from_mins(10)),
        sync: findings.read_or(file.sync.as_ref(), Sync::Every(Duration::from_secs(1))),
        on_failure: file
            .on_failure
            .as_ref()
            .map_or(OnFailure::Refuse, |it| it.value.into()),
        syslog,
    }
}

fn syslog(file: &AuditTable, has_directory: bool, findings: &mut Findings) -> Option<Syslog> {
    let ca = findings.path("syslog_ca", file.syslog_ca.as_ref());
    let server = file.syslog.as_ref().and_then(|text| findings.read(text));
    if let Some(written) = &file.syslog
        && !has_directory
    {
        let title = "there is no `directory` to ship the audit trail from";
        findings.problem(
            Problem::new(written.span.clone(), title)
                .help("set `directory`: what the server misses waits there"),
        );
    }
    if let Some(written) = &file.syslog_ca
        && server.as_ref().is_none_or(|server| !server.is_tls())
    {
        // A server that can't be read has been reported already.
        if server.is_some() || file.syslog.is_none() {
            findings.problem(
                Problem::new(written.span.clone(), "`syslog_ca` vouches for nobody")
                    .help("it is for a `syslog` server that is written \"tls://…\""),
            );
        }
    }
    server.map(|server| Syslog { server, ca })
}

//! `[admin]`: the port for health and metrics.

use std::net::{Ipv4Addr, SocketAddr};

use callhome_settings::{Findings, Problem};

use super::listeners::overlap;
use crate::admin::AdminOptions;
use crate::config::file::File;
use crate::server::ListenerOptions;

pub(in crate::config) fn admin(
    file: &File,
    listeners: &[ListenerOptions],
    findings: &mut Findings,
) -> AdminOptions {
    let default = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 9090);
    let options = AdminOptions {
        bind: findings.read_or(file.admin.bind.as_ref(), default),
        hosts: findings
            .read_all(file.admin.hosts.as_ref())
            .into_iter()
            .map(|host| host.0)
            .collect(),
        token_file: findings.path("token_file", file.admin.token_file.as_ref()),
        insecure: file.admin.insecure.unwrap_or(false),
    };
    let span = file.admin.bind.as_ref().map(|bind| bind.span.clone());
    let missing: Vec<&str> = [
        (options.token_file.is_none(), "`token_file`"),
        (!options.insecure, "`insecure = true`"),
    ]
    .into_iter()
    .filter_map(|(missing, key)| missing.then_some(key))
    .collect();
    if !options.bind.ip().is_loopback() && !missing.is_empty() {
        findings.problem(
            Problem::new(
                span.clone(),
                "the admin listener can be reached from the network",
            )
            .label(format!("needs {}", missing.join(" and ")))
            .help("bind it to 127.0.0.1, or set both `token_file` and `insecure = true`"),
        );
    }
    if let Some(listener) = listeners
        .iter()
        .find(|listener| overlap(listener.bind, options.bind))
    {
        let title = format!(
            "the admin listener and the listener `{}` want the same port",
            listener.name
        );
        // The file may have only one of the two addresses, which clashes with the default of the
        // other.
        let span = span.or_else(|| file.listener.as_ref().map(|it| it.span.clone()));
        findings.problem(Problem::new(span, title).help("give one another port"));
    }
    options
}

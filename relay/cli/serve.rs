//! `serve` runs the relay until a signal ends it.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::ConfigArg;
use super::exit::Exit;
use crate::app::{self, App, StartError};
use crate::config::{Config, ConfigSource};
use crate::os::{self, PassedSockets, ServiceManager};
use crate::policy::{Enforcement, Origin, Unlisted};
use crate::server::{ListenerMode, ListenerOptions};
use crate::telemetry;

pub(super) fn run(args: &ConfigArg) -> anyhow::Result<Exit> {
    let config = Config::load(&args.source())?;
    telemetry::init(config.log);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let passed = PassedSockets::from_env().map_err(StartError::from)?;
    let manager = ServiceManager::from_env().unwrap_or_else(|error| {
        tracing::warn!(%error, "the service manager can't be told anything (NOTIFY_SOCKET)");
        ServiceManager::default()
    });
    // This runtime serves the listeners, the admin port and the resolver. Sessions have threads of
    // their own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let app = App::build_on(config, passed).await?.under(manager);
        let commands = app::instructions()?;
        introduce(&app)?;
        app.run(commands).await?;
        Ok(Exit::Fine)
    })
}

/// Says where the relay listens, what it allows, and what to do next. It writes to standard error,
/// because standard output may be the trail.
fn introduce(app: &App) -> std::io::Result<()> {
    let config = app.config();
    let mut out = anstream::stderr().lock();
    let from = match &config.source {
        ConfigSource::BuiltIn => "built-in defaults (no configuration file)".to_owned(),
        ConfigSource::File(path) => path.display().to_string(),
    };
    writeln!(
        out,
        "callhome-relay {} \"{}\", {from}",
        env!("CARGO_PKG_VERSION"),
        config.name
    )?;
    let listeners = app.listeners();
    for ((name, address), options) in listeners.iter().zip(&config.listeners) {
        let what = describe_listener(options);
        writeln!(out, "  listens   {address}  (\"{name}\", {what})")?;
    }
    writeln!(
        out,
        "  admin     http://{}/readyz  /livez  /metrics",
        app.admin()
    )?;
    let clients = match (config.policy.clients().len(), config.policy.unlisted()) {
        (0, unlisted) => describe(unlisted).to_owned(),
        (listed, Unlisted::Deny) => format!("{listed} listed, no other"),
        (listed, unlisted) => format!("{listed} listed, and {}", describe(unlisted)),
    };
    writeln!(out, "  clients   {clients}")?;
    for destination in config.policy.destinations() {
        let hosts: Vec<_> = destination.hosts.iter().map(ToString::to_string).collect();
        let ports: Vec<_> = destination.ports.iter().map(ToString::to_string).collect();
        let note = match &destination.origin {
            Origin::Preset {
                confirmed: false, ..
            } => "  (preset, not confirmed by the vendor: see `check --offline`)",
            Origin::Preset { .. } => "  (preset)",
            Origin::Site => "",
        };
        writeln!(
            out,
            "  allows    {} port {}{note}",
            hosts.join(", "),
            ports.join(", ")
        )?;
    }
    if let Enforcement::ReportOnly { until } = config.policy.mode() {
        writeln!(
            out,
            "  REPORT-ONLY until {until}: names on no list are let through"
        )?;
    }
    // Finds the first listener that a client can use without TLS and without a balancer.
    let first = |wanted: fn(&ListenerMode) -> bool| {
        let simple = |it: &ListenerOptions| it.tls.is_none() && it.proxy_protocol_from.is_empty();
        let mut listeners = listeners.iter().zip(&config.listeners);
        listeners
            .find(|(_, options)| wanted(&options.mode) && simple(options))
            .map(|((_, address), _)| reachable(*address))
    };
    if let Some(relay) = first(|mode| *mode == ListenerMode::Proxy) {
        writeln!(
            out,
            "  on a Windows ZVM, in an elevated prompt, with {} as this relay's name or address:",
            relay.ip()
        )?;
        writeln!(
            out,
            "    bitsadmin /util /setieproxy localservice AUTOSCRIPT http://{relay}/proxy.pac"
        )?;
        writeln!(
            out,
            "  to try it:  curl -v -x http://{relay} https://ch3.zerto.com/"
        )?;
    } else if let Some(relay) = first(|mode| matches!(mode, ListenerMode::Sni { .. })) {
        writeln!(
            out,
            "  to try it:  curl --connect-to ch3.zerto.com:443:{relay} https://ch3.zerto.com/"
        )?;
    }
    Ok(())
}

fn describe_listener(listener: &ListenerOptions) -> String {
    let mut what = match (listener.mode, &listener.tls) {
        (ListenerMode::Sni { target_port }, _) => {
            format!("TLS, passed through to the server that it names, port {target_port}")
        }
        (ListenerMode::Proxy, None) => "HTTP CONNECT".to_owned(),
        (ListenerMode::Proxy, Some(tls)) if tls.client_ca.is_none() => "HTTPS CONNECT".to_owned(),
        (ListenerMode::Proxy, Some(_)) => "HTTPS CONNECT, with client certificates".to_owned(),
    };
    if !listener.proxy_protocol_from.is_empty() {
        what += ", from balancers alone";
    }
    what
}

fn describe(unlisted: Unlisted) -> &'static str {
    match unlisted {
        Unlisted::Deny => "none: list them in [[client]]",
        Unlisted::Private => "any with a private address",
        Unlisted::Any => "any at all",
    }
}

/// Gives an address that a client could use. For a listener on every address, that is the address
/// from which this machine's own connections come.
fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        ip if !ip.is_unspecified() => ip,
        _ => os::primary_address().unwrap_or(IpAddr::from([127, 0, 0, 1])),
    };
    SocketAddr::new(ip, listener.port())
}

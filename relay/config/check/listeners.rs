//! `[[listener]]`: the ports that clients connect to.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;

use callhome_settings::{At, Findings, Name, Problem};
use ipnet::IpNet;

use crate::config::file::{File, ListenerTable, ListenerTables, TlsTable};
use crate::config::words::ListenerModeWord;
use crate::server::{ListenerMode, ListenerOptions, TlsOptions};

/// Returns the options of all listeners. Without `[[listener]]` it is one of mode "proxy".
pub(in crate::config) fn listeners(file: &File, findings: &mut Findings) -> Vec<ListenerOptions> {
    let Some(listeners) = &file.listener else {
        return vec![ListenerOptions {
            name: "proxy".into(),
            bind: SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 3128),
            mode: ListenerMode::Proxy,
            proxy_protocol_from: Vec::new(),
            tls: None,
        }];
    };
    let ListenerTables(written) = &listeners.value;
    if written.is_empty() {
        findings.problem(
            Problem::new(listeners.span.clone(), "`listener` is empty")
                .help("remove the key for the default listener"),
        );
    }
    findings.unique("listener", written.iter().map(|listener| &listener.name));
    let mut options: Vec<ListenerOptions> = Vec::new();
    let mut spans: Vec<&Range<usize>> = Vec::new();
    for listener in written {
        let name = findings.read(&listener.name);
        let bind = findings.read(&listener.bind);
        let mode = listener_mode(listener, findings);
        let proxy_protocol_from = balancers(listener, findings);
        let tls = listener
            .tls
            .as_ref()
            .map(|written| tls(written, mode, findings));
        let (Some(Name(name)), Some(bind)) = (name, bind) else {
            continue;
        };
        let span = &listener.bind.span;
        if let Some(other) = options.iter().position(|other| overlap(other.bind, bind)) {
            findings.problem(
                Problem::new(span.clone(), format!("two listeners want `{bind}`"))
                    .also(spans[other].clone(), "the first")
                    .help("give one another port; `[::]` takes every address, IPv4 too"),
            );
        }
        options.push(ListenerOptions {
            name,
            bind,
            mode,
            proxy_protocol_from,
            tls,
        });
        spans.push(span);
    }
    options
}

/// Reads the balancers, and warns if they are all addresses. A PROXY header can name any client, so
/// it is only safe from a balancer.
fn balancers(written: &ListenerTable, findings: &mut Findings) -> Vec<IpNet> {
    let balancers = findings.read_some(
        "proxy_protocol_from",
        written.proxy_protocol_from.as_ref(),
        "remove the key to have clients connect themselves",
    );
    let balancers = balancers.unwrap_or_default();
    if let Some(all) = balancers.iter().find(|net| net.prefix_len() == 0) {
        findings.warn(format!(
            "proxy_protocol_from has {all}: whoever reaches the listener {} can claim to be any client",
            written.name.value.text
        ));
    }
    balancers
}

/// Reads the paths of a TLS listener. The files themselves are read when the relay starts.
fn tls(written: &At<TlsTable>, mode: ListenerMode, findings: &mut Findings) -> TlsOptions {
    if mode != ListenerMode::Proxy {
        let title = "`tls` is for a listener of mode \"proxy\"";
        findings.problem(
            Problem::new(written.span.clone(), title)
                .label("mode \"sni\" passes its clients' TLS through")
                .help("remove the key"),
        );
    }
    let mut path = |key, written: &At<String>| {
        if written.value.is_empty() {
            let title = format!("`{key}` is empty");
            findings.problem(Problem::new(written.span.clone(), title).help("name a PEM file"));
        }
        PathBuf::from(&written.value)
    };
    let file = &written.value;
    TlsOptions {
        certificate: path("certificate", &file.certificate),
        key: path("key", &file.key),
        client_ca: findings.path("client_ca", file.client_ca.as_ref()),
    }
}

/// Reads the mode, which has a target port only for "sni".
fn listener_mode(written: &ListenerTable, findings: &mut Findings) -> ListenerMode {
    let mode = written.mode.as_ref().map(|mode| mode.value);
    match (mode, &written.target_port) {
        (Some(ListenerModeWord::Sni), port) => ListenerMode::Sni {
            target_port: port.as_ref().map_or(443, |port| port.value.get()),
        },
        (Some(ListenerModeWord::Proxy) | None, port) => {
            if let Some(port) = port {
                let title = "`target_port` is for a listener of mode \"sni\"";
                findings.problem(
                    Problem::new(port.span.clone(), title)
                        .label("a CONNECT names the port itself")
                        .help("remove the key, or add `mode = \"sni\"`"),
                );
            }
            ListenerMode::Proxy
        }
    }
}

/// Whether the kernel would refuse the second of two listeners. Port 0 never clashes, because the
/// kernel chooses a free port for it.
pub(super) fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    // `[::]` takes IPv4 as well, while `0.0.0.0` takes IPv4 only.
    let covers =
        |wide: IpAddr, other: IpAddr| wide.is_unspecified() && (wide.is_ipv6() || other.is_ipv4());
    a.port() == b.port()
        && a.port() != 0
        && (a.ip() == b.ip() || covers(a.ip(), b.ip()) || covers(b.ip(), a.ip()))
}

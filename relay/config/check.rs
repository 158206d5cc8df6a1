//! From the mirror of the file to the options of each part: values read, defaults filled in, contradictions found.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::bound::Bound;
use super::error::Problem;
use super::file::{self, File};
use super::names::{AccountName, Name};
use super::units::{Percent, Size, Timeout};
use super::value::{At, Form, List, Text};
use crate::os::sandbox;
use crate::policy::Rate;
use crate::server::{Limits, ListenerMode, ListenerOptions, Timeouts, TlsOptions};
use crate::{admin, dns, telemetry};

/// What is found on the way. A problem makes the file unusable; a warning is for the operator to judge.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
}

impl Findings {
    pub(super) fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    pub(super) fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    pub(super) fn read<F: Form>(&mut self, text: &Text<F>) -> Option<F> {
        let written = &text.value.text;
        match F::read(written) {
            Ok(value) => Some(value),
            Err(mistake) => {
                let title = format!("`{written}` is not {}", F::NOUN);
                let problem = Problem::new(text.span.clone(), title).help(mistake.help);
                self.problem(match mistake.label {
                    Some(label) => problem.label(label),
                    None => problem,
                });
                None
            }
        }
    }

    /// After a mistake the default stands in, so that the rest of the file is looked at too.
    pub(super) fn read_or<F: Form>(&mut self, text: Option<&Text<F>>, default: F) -> F {
        text.and_then(|text| self.read(text)).unwrap_or(default)
    }

    pub(super) fn read_all<F: Form>(&mut self, list: Option<&List<F>>) -> Vec<F> {
        let texts = list.into_iter().flat_map(|list| &list.value);
        texts.filter_map(|text| self.read(text)).collect()
    }

    /// A list that restricts when it is there. Empty it could mean "none" or "no restriction", so it is refused.
    pub(super) fn read_some<F: Form>(
        &mut self,
        key: &str,
        list: Option<&List<F>>,
        help: &str,
    ) -> Option<Vec<F>> {
        let list = list?;
        self.refuse_empty(key, list, help);
        Some(self.read_all(Some(list)))
    }

    pub(super) fn refuse_empty<T>(&mut self, key: &str, list: &At<Vec<T>>, help: &str) {
        if list.value.is_empty() {
            let title = format!("`{key}` is empty");
            self.problem(Problem::new(list.span.clone(), title).help(help));
        }
    }

    pub(super) fn path(&mut self, key: &str, path: Option<&At<String>>) -> Option<PathBuf> {
        let path = path?;
        if path.value.is_empty() {
            let title = format!("`{key}` is empty");
            self.problem(Problem::new(path.span.clone(), title).help("remove the key"));
        }
        Some(PathBuf::from(&path.value))
    }

    /// Two things of the same name can't be told apart in a record.
    pub(super) fn unique<'a>(
        &mut self,
        what: &str,
        names: impl IntoIterator<Item = &'a Text<Name>>,
    ) {
        let mut seen: HashMap<&str, &Text<Name>> = HashMap::new();
        for name in names {
            let text = &name.value.text;
            match seen.entry(text) {
                Entry::Occupied(first) => self.problem(
                    Problem::new(name.span.clone(), format!("two {what}s are named `{text}`"))
                        .also(first.get().span.clone(), "the first")
                        .help("rename one"),
                ),
                Entry::Vacant(free) => {
                    free.insert(name);
                }
            }
        }
    }

    pub(super) fn listeners(&mut self, file: &File) -> Vec<ListenerOptions> {
        let Some(listeners) = &file.listener else {
            return vec![ListenerOptions {
                name: "proxy".into(),
                bind: SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 3128),
                mode: ListenerMode::Proxy,
                proxy_protocol_from: Vec::new(),
                tls: None,
            }];
        };
        let file::Listeners(written) = &listeners.value;
        if written.is_empty() {
            self.problem(
                Problem::new(listeners.span.clone(), "`listener` is empty")
                    .help("remove the key for the default listener"),
            );
        }
        self.unique("listener", written.iter().map(|listener| &listener.name));
        let mut options: Vec<ListenerOptions> = Vec::new();
        let mut spans: Vec<&Range<usize>> = Vec::new();
        for listener in written {
            let name = self.read(&listener.name);
            let bind = self.read(&listener.bind);
            let mode = self.listener_mode(listener);
            let proxy_protocol_from = self.balancers(listener);
            let tls = listener.tls.as_ref().map(|tls| self.tls(tls, mode));
            let (Some(Name(name)), Some(bind)) = (name, bind) else {
                continue;
            };
            let span = &listener.bind.span;
            if let Some(other) = options.iter().position(|other| overlap(other.bind, bind)) {
                self.problem(
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

    fn balancers(&mut self, written: &file::Listener) -> Vec<IpNet> {
        let balancers = self.read_some(
            "proxy_protocol_from",
            written.proxy_protocol_from.as_ref(),
            "remove the key to have clients connect themselves",
        );
        let balancers = balancers.unwrap_or_default();
        if let Some(all) = balancers.iter().find(|net| net.prefix_len() == 0) {
            self.warn(format!(
                "proxy_protocol_from has {all}: whoever reaches the listener {} can claim to be any client",
                written.name.value.text
            ));
        }
        balancers
    }

    fn tls(&mut self, written: &At<file::Tls>, mode: ListenerMode) -> TlsOptions {
        if mode != ListenerMode::Proxy {
            let title = "`tls` is for a listener of mode \"proxy\"";
            self.problem(
                Problem::new(written.span.clone(), title)
                    .label("mode \"sni\" passes its clients' TLS through")
                    .help("remove the key"),
            );
        }
        let mut path = |key, written: &At<String>| {
            if written.value.is_empty() {
                let title = format!("`{key}` is empty");
                self.problem(Problem::new(written.span.clone(), title).help("name a PEM file"));
            }
            PathBuf::from(&written.value)
        };
        let file = &written.value;
        TlsOptions {
            certificate: path("certificate", &file.certificate),
            key: path("key", &file.key),
            client_ca: self.path("client_ca", file.client_ca.as_ref()),
        }
    }

    fn listener_mode(&mut self, written: &file::Listener) -> ListenerMode {
        let mode = written.mode.as_ref().map(|mode| mode.value);
        match (mode, &written.target_port) {
            (Some(file::ListenerMode::Sni), port) => ListenerMode::Sni {
                target_port: port.as_ref().map_or(443, |port| port.value.get()),
            },
            (Some(file::ListenerMode::Proxy) | None, port) => {
                if let Some(port) = port {
                    let title = "`target_port` is for a listener of mode \"sni\"";
                    self.problem(
                        Problem::new(port.span.clone(), title)
                            .label("a CONNECT names the port itself")
                            .help("remove the key, or add `mode = \"sni\"`"),
                    );
                }
                ListenerMode::Proxy
            }
        }
    }

    pub(super) fn dns(&mut self, file: &file::Dns) -> dns::DnsOptions {
        let options = dns::DnsOptions {
            servers: self
                .read_some(
                    "servers",
                    file.servers.as_ref(),
                    "remove the key for the servers of /etc/resolv.conf",
                )
                .unwrap_or_default()
                .into_iter()
                .map(|server| server.0)
                .collect(),
            timeout: self.read_or(file.timeout.as_ref(), Timeout(seconds(5))).0,
            min_ttl: self.read_or(file.min_ttl.as_ref(), seconds(5)),
            max_ttl: self.read_or(file.max_ttl.as_ref(), minutes(5)),
            serve_stale: self.read_or(file.serve_stale.as_ref(), minutes(60)),
        };
        self.at_most(
            &Bound::duration("min_ttl", file.min_ttl.as_ref(), options.min_ttl),
            &Bound::duration("max_ttl", file.max_ttl.as_ref(), options.max_ttl),
        );
        options
    }

    pub(super) fn timeouts(&mut self, file: &file::Timeouts) -> Timeouts {
        let mut timeout =
            |text: &Option<Text<Timeout>>, default| self.read_or(text.as_ref(), Timeout(default)).0;
        Timeouts {
            proxy_header: timeout(&file.proxy_header, seconds(5)),
            tls_handshake: timeout(&file.tls_handshake, seconds(10)),
            request_head: timeout(&file.request_head, seconds(10)),
            client_hello: timeout(&file.client_hello, seconds(10)),
            connect: timeout(&file.connect, seconds(10)),
            idle: timeout(&file.idle, minutes(10)),
            half_closed: timeout(&file.half_closed, minutes(2)),
            lifetime: timeout(&file.lifetime, minutes(24 * 60)),
            tcp_user: timeout(&file.tcp_user, minutes(2)),
            keepalive: timeout(&file.keepalive, seconds(60)),
            drain: self.read_or(file.drain.as_ref(), seconds(30)),
        }
    }

    pub(super) fn limits(&mut self, file: &file::Limits) -> Limits {
        let connections = Bound::count("connections", file.connections.as_ref(), 8192);
        let tunnels = Bound::count("tunnels", file.tunnels.as_ref(), 4096);
        let connections_per_client = Bound::count(
            "connections_per_client",
            file.connections_per_client.as_ref(),
            512,
        );
        let tunnels_per_client =
            Bound::count("tunnels_per_client", file.tunnels_per_client.as_ref(), 256);
        self.at_most(&tunnels, &connections);
        self.at_most(&connections_per_client, &connections);
        self.at_most(&tunnels_per_client, &tunnels);
        let rate = Rate {
            count: 20,
            per: seconds(1),
        };
        Limits {
            connections: connections.value,
            connections_per_client: connections_per_client.value,
            tunnels: tunnels.value,
            tunnels_per_client: tunnels_per_client.value,
            inventory_reserve: self.read_or(file.inventory_reserve.as_ref(), Percent(25)).0,
            rate_per_client: self.read_or(file.rate_per_client.as_ref(), rate),
            request_head: self.request_head(file.request_head.as_ref()),
        }
    }

    fn request_head(&mut self, text: Option<&Text<Size>>) -> usize {
        const DEFAULT: Size = Size(16 << 10);
        const SHORTEST: Size = Size(1 << 10);
        const LONGEST: Size = Size(1 << 20);
        let size = self.read_or(text, DEFAULT);
        if let Some(text) = text
            && !(SHORTEST.0..=LONGEST.0).contains(&size.0)
        {
            let help = format!(
                "write a size from {:?} to {:?}; every client's head is kept in memory",
                SHORTEST.write(),
                LONGEST.write()
            );
            let title = format!("`{}` is no limit for a request head", text.value.text);
            self.problem(Problem::new(text.span.clone(), title).help(help));
        }
        size.0
    }

    pub(super) fn admin(
        &mut self,
        file: &File,
        listeners: &[ListenerOptions],
    ) -> admin::AdminOptions {
        let default = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 9090);
        let options = admin::AdminOptions {
            bind: self.read_or(file.admin.bind.as_ref(), default),
            hosts: self
                .read_all(file.admin.hosts.as_ref())
                .into_iter()
                .map(|host| host.0)
                .collect(),
            token_file: self.path("token_file", file.admin.token_file.as_ref()),
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
            self.problem(
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
            // The default of one can clash with what the file says of the other.
            let span = span.or_else(|| file.listener.as_ref().map(|it| it.span.clone()));
            self.problem(Problem::new(span, title).help("give one another port"));
        }
        options
    }

    pub(super) fn sandbox(&mut self, file: &file::Sandbox) -> sandbox::SandboxOptions {
        let mode = file.mode.as_ref().map(|mode| mode.value);
        let user = file.user.as_ref().and_then(|user| self.read(user));
        sandbox::SandboxOptions {
            mode: mode.unwrap_or(file::SandboxMode::Auto).into(),
            user: user.map(|AccountName(user)| user),
        }
    }
}

pub(super) fn log(file: &file::Log) -> telemetry::LogOptions {
    telemetry::LogOptions {
        level: file.level.unwrap_or(file::Level::Info).into(),
        format: file.format.unwrap_or(file::Format::Text).into(),
    }
}

/// Whether the kernel would refuse the second of the two. Port 0 is another port each time.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    // `[::]` takes IPv4 as well; 0.0.0.0 takes IPv4 only.
    let covers =
        |wide: IpAddr, other: IpAddr| wide.is_unspecified() && (wide.is_ipv6() || other.is_ipv4());
    a.port() == b.port()
        && a.port() != 0
        && (a.ip() == b.ip() || covers(a.ip(), b.ip()) || covers(b.ip(), a.ip()))
}

pub(super) const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(super) const fn minutes(count: u64) -> Duration {
    Duration::from_mins(count)
}

//! Names to addresses: hosts file, cache, then DNS for A and AAAA at once (RFC 8305, 3). Literals and static addresses are
//! the caller's, and so is the judgement on every address that comes out of here.

mod cache;
mod hosts;
mod resolv_conf;
mod upstream;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, fs, io};

use tokio::runtime::Handle;
use tokio::sync::watch;

use self::cache::{Answer, Cache, Hit, Limits};
use self::hosts::HostsFile;
use self::upstream::{Reply, Upstream};
use crate::authority::DnsName;
use crate::proxy_error::{Reason, Refusal};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsOptions {
    /// Asked in this order; none: those of resolv.conf.
    pub servers: Vec<SocketAddr>,
    /// For one name in total: all servers, retransmissions, both record types.
    pub timeout: Duration,
    /// Bounds of the time an answer is kept, a negative one too.
    pub min_ttl: Duration,
    pub max_ttl: Duration,
    /// How long after its end an answer still serves while every server fails (RFC 8767).
    pub serve_stale: Duration,
}

/// The files of the system that a resolver reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemFiles {
    pub hosts: PathBuf,
    pub resolv_conf: PathBuf,
}

/// A resolver with its cache. A clone is the same one.
#[derive(Clone)]
pub struct Resolver(Arc<Inner>);

/// The addresses of a name, at least one, and where they come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    pub addresses: Vec<IpAddr>,
    pub source: AddressSource,
}

/// Where an address comes from, as the trail says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressSource {
    /// The target was an address.
    Literal,
    /// The destination's `addresses`.
    Static,
    Hosts,
    Dns,
    Cache,
    /// An expired answer, because every server failed.
    Stale,
}

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A server said so; NOERROR means that the name exists without an address.
    #[error("the name server answered {rcode}, and no address")]
    Negative { rcode: &'static str },
    /// No server said anything in time.
    #[error("no name server answered in time")]
    Timeout,
    /// Servers couldn't be reached, or what they sent was no answer.
    #[error("no name server gave an answer: {0}")]
    Unanswered(String),
}

#[derive(Debug, thiserror::Error)]
pub enum ResolverError {
    #[error("no name server: neither the configuration nor resolv.conf names one")]
    NoServer,
    #[error("cannot read {path}: {error}")]
    ResolvConf { path: String, error: io::Error },
    #[error("cannot set up the DNS client: {0}")]
    Client(String),
    /// A defect of the caller, not of the configuration.
    #[error("a resolver needs the runtime it is to work on")]
    NoRuntime,
}

struct Inner {
    options: DnsOptions,
    files: SystemFiles,
    servers: Vec<SocketAddr>,
    hosts: HostsFile,
    upstream: Upstream,
    /// Sessions come and go with runtimes of their own; questions run here, whoever asked.
    runtime: Handle,
    state: Mutex<State>,
}

struct State {
    cache: Cache,
    /// The questions under way, so that a name is asked for once at a time.
    flights: HashMap<DnsName, Waiter>,
}

type Outcome = Result<Resolution, Failure>;
type Waiter = watch::Receiver<Option<Outcome>>;

/// One question under way. It lands exactly once, dropped or done, and whoever waits is told.
struct Flight {
    resolver: Resolver,
    name: DnsName,
    outcome: watch::Sender<Option<Outcome>>,
}

impl Resolver {
    /// A resolver that works on the current runtime, which must outlive it.
    pub fn new(options: DnsOptions) -> Result<Self, ResolverError> {
        Self::with_files(options, SystemFiles::default())
    }

    pub fn with_files(options: DnsOptions, files: SystemFiles) -> Result<Self, ResolverError> {
        let servers = effective_servers(&options, &files)?;
        let limits = Limits {
            min_ttl: options.min_ttl,
            max_ttl: options.max_ttl,
            serve_stale: options.serve_stale,
            entries: MAX_ENTRIES,
        };
        Ok(Self(Arc::new(Inner {
            hosts: HostsFile::load(files.hosts.clone(), now()),
            upstream: Upstream::new(&servers, options.timeout)?,
            runtime: Handle::try_current().map_err(|_| ResolverError::NoRuntime)?,
            state: Mutex::new(State {
                cache: Cache::new(limits),
                flights: HashMap::new(),
            }),
            options,
            files,
            servers,
        })))
    }

    /// A resolver for new options: this one, cache and all, when neither they nor the servers of resolv.conf changed.
    pub fn reloaded(&self, options: DnsOptions) -> Result<Self, ResolverError> {
        let servers = effective_servers(&options, &self.0.files)?;
        if options == self.0.options && servers == self.0.servers {
            return Ok(self.clone());
        }
        Self::with_files(options, self.0.files.clone())
    }

    pub fn options(&self) -> &DnsOptions {
        &self.0.options
    }

    /// The servers in use, in the order in which they are asked.
    pub fn servers(&self) -> &[SocketAddr] {
        &self.0.servers
    }

    /// The addresses of a name, after at most [`DnsOptions::timeout`]. Dropping the future leaves the question to others who wait.
    pub async fn resolve(&self, name: &DnsName) -> Result<Resolution, Failure> {
        let now = now();
        if let Some(addresses) = self.0.hosts.get(name, now) {
            return Ok(Resolution {
                addresses,
                source: AddressSource::Hosts,
            });
        }
        let (mut waiter, flight) = {
            let mut state = self.0.state();
            match state.cache.get(name, now) {
                Some(Hit::Fresh(answer)) => return answer.into_outcome(AddressSource::Cache),
                Some(Hit::Stale(addresses)) => {
                    return Answer::Addresses(addresses).into_outcome(AddressSource::Stale);
                }
                None => self.board(&mut state, name),
            }
        };
        // After the lock is given back: a runtime that is shutting down drops the flight at once, and that takes the lock.
        if let Some(flight) = flight {
            self.0.runtime.spawn(flight.run());
        }
        match waiter.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            _ => Err(Failure::Unanswered("the lookup was abandoned".to_owned())),
        }
    }

    /// The flight of a name, to wait for; and the flight itself when it is a new one, to be started.
    fn board(&self, state: &mut State, name: &DnsName) -> (Waiter, Option<Flight>) {
        if let Some(waiter) = state.flights.get(name) {
            return (waiter.clone(), None);
        }
        let (outcome, waiter) = watch::channel(None);
        state.flights.insert(name.clone(), waiter.clone());
        let flight = Flight {
            resolver: self.clone(),
            name: name.clone(),
            outcome,
        };
        (waiter, Some(flight))
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("options", &self.0.options)
            .field("servers", &self.0.servers)
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    async fn run(self) {
        let reply = self.resolver.0.upstream.resolve(&self.name).await;
        let outcome = self.land(reply, now());
        self.outcome.send_replace(Some(outcome));
    }

    fn land(&self, reply: Reply, now: Instant) -> Outcome {
        let mut state = self.resolver.0.state();
        let (answer, ttl) = match reply {
            Reply::Addresses(addresses, ttl) => (Answer::Addresses(addresses), ttl),
            Reply::Negative(rcode, ttl) => (Answer::Negative { rcode }, ttl),
            Reply::Failed(failure) => {
                return match state.cache.stale(&self.name, now) {
                    Some(addresses) => {
                        Answer::Addresses(addresses).into_outcome(AddressSource::Stale)
                    }
                    None => Err(failure),
                };
            }
        };
        state
            .cache
            .insert(self.name.clone(), answer.clone(), ttl, now);
        answer.into_outcome(AddressSource::Dns)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.resolver.0.state().flights.remove(&self.name);
    }
}

impl Answer {
    fn into_outcome(self, source: AddressSource) -> Outcome {
        match self {
            Self::Addresses(addresses) => Ok(Resolution { addresses, source }),
            Self::Negative { rcode } => Err(Failure::Negative { rcode }),
        }
    }
}

impl AddressSource {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Literal => "literal",
            Self::Static => "static",
            Self::Hosts => "hosts",
            Self::Dns => "dns",
            Self::Cache => "cache",
            Self::Stale => "stale",
        }
    }
}

impl Failure {
    /// The more telling of two failures: what a server said, then what went wrong on the way, then silence.
    fn or_worse(self, other: Self) -> Self {
        match (&self, &other) {
            (Self::Negative { .. }, _)
            | (Self::Unanswered(_), Self::Timeout | Self::Unanswered(_)) => self,
            _ => other,
        }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let (reason, rcode) = match failure {
            Failure::Negative { rcode } => (Reason::DnsFailed, Some(rcode.into())),
            Failure::Unanswered(_) => (Reason::DnsFailed, None),
            Failure::Timeout => (Reason::DnsTimeout, None),
        };
        Self {
            rcode,
            ..Self::new(reason, failure.to_string())
        }
    }
}

impl Default for SystemFiles {
    fn default() -> Self {
        Self {
            hosts: "/etc/hosts".into(),
            resolv_conf: "/etc/resolv.conf".into(),
        }
    }
}

fn effective_servers(
    options: &DnsOptions,
    files: &SystemFiles,
) -> Result<Vec<SocketAddr>, ResolverError> {
    if !options.servers.is_empty() {
        return Ok(options.servers.clone());
    }
    let text = fs::read(&files.resolv_conf).map_err(|error| ResolverError::ResolvConf {
        path: files.resolv_conf.display().to_string(),
        error,
    })?;
    let servers = resolv_conf::name_servers(&String::from_utf8_lossy(&text));
    if servers.is_empty() {
        return Err(ResolverError::NoServer);
    }
    Ok(servers)
}

/// The runtime's clock, which tests can move.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Far beyond what an allowlist asks for; a wildcard's clients could ask for more.
const MAX_ENTRIES: usize = 10_000;

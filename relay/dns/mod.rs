//! Names to addresses: the hosts file, then the cache, then DNS for A and AAAA at once
//! (RFC 8305, 3).
//!
//! Literals and static addresses never come here. The caller must screen every address that it
//! gets.

mod cache;
mod hosts;
mod resolution;
mod resolv_conf;
mod upstream;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, fs, io};

use tokio::runtime::Handle;
use tokio::sync::watch;

use self::cache::{Answer, Cache, CacheLimits, Hit};
use self::hosts::HostsFile;
use self::upstream::{Reply, Upstream};
use crate::authority::DnsName;

pub use self::resolution::{AddressSource, LookupError, Resolution};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsOptions {
    /// The servers, asked in this order. If there are none, those of resolv.conf are asked.
    pub servers: Vec<SocketAddr>,
    /// The most time that one name may take: all servers, retransmissions and both record types.
    pub timeout: Duration,
    /// The least time that an answer is kept, a negative one too.
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

/// A resolver with its cache. Cloning shares it.
#[derive(Clone)]
pub struct Resolver(Arc<ResolverInner>);

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

struct ResolverInner {
    options: DnsOptions,
    files: SystemFiles,
    servers: Vec<SocketAddr>,
    hosts: HostsFile,
    upstream: Upstream,
    /// Questions run on this runtime. A session's own runtime may end while other sessions still
    /// wait for the answer.
    runtime: Handle,
    state: Mutex<Lookups>,
}

struct Lookups {
    cache: Cache,
    /// The questions under way, so that a name is asked for once at a time.
    questions: HashMap<DnsName, Waiter>,
}

type LookupResult = Result<Resolution, LookupError>;
type Waiter = watch::Receiver<Option<LookupResult>>;

/// One question under way. Its drop takes it out of the list, and wakes those that wait even where
/// it wasn't answered.
struct Question {
    resolver: Resolver,
    name: DnsName,
    outcome: watch::Sender<Option<LookupResult>>,
}

impl Resolver {
    /// Makes a resolver that works on the current runtime, which must outlive it.
    pub fn new(options: DnsOptions) -> Result<Self, ResolverError> {
        Self::with_files(options, SystemFiles::default())
    }

    pub fn with_files(options: DnsOptions, files: SystemFiles) -> Result<Self, ResolverError> {
        let servers = effective_servers(&options, &files)?;
        let limits = CacheLimits {
            min_ttl: options.min_ttl,
            max_ttl: options.max_ttl,
            serve_stale: options.serve_stale,
            entries: MAX_ENTRIES,
        };
        Ok(Self(Arc::new(ResolverInner {
            hosts: HostsFile::load(files.hosts.clone(), now()),
            upstream: Upstream::new(&servers, options.timeout)?,
            runtime: Handle::try_current().map_err(|_| ResolverError::NoRuntime)?,
            state: Mutex::new(Lookups {
                cache: Cache::new(limits),
                questions: HashMap::new(),
            }),
            options,
            files,
            servers,
        })))
    }

    /// Makes a resolver for new options. It is this one, with its cache, when neither they nor the
    /// servers of resolv.conf changed.
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

    /// Gives the servers in use, in the order in which they are asked.
    pub fn servers(&self) -> &[SocketAddr] {
        &self.0.servers
    }

    /// Gives the addresses of a name, after at most [`DnsOptions::timeout`].
    ///
    /// Dropping the future doesn't stop the question, because others may wait for it.
    pub async fn resolve(&self, name: &DnsName) -> Result<Resolution, LookupError> {
        let now = now();
        if let Some(addresses) = self.0.hosts.get(name, now) {
            return Ok(Resolution {
                addresses,
                source: AddressSource::Hosts,
            });
        }
        let (mut waiter, question) = {
            let mut state = self.0.state();
            match state.cache.get(name, now) {
                Some(Hit::Fresh(answer)) => return answer.into_result(AddressSource::Cache),
                Some(Hit::Stale(addresses)) => {
                    return Answer::Addresses(addresses).into_result(AddressSource::Stale);
                }
                None => self.join(&mut state, name),
            }
        };
        // Spawn only after the lock is given back. A runtime that is shutting down drops the
        // question at once, and the drop takes the lock.
        if let Some(question) = question {
            self.0.runtime.spawn(question.run());
        }
        match waiter.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            _ => Err(LookupError::Unanswered(
                "the lookup was abandoned".to_owned(),
            )),
        }
    }

    /// Joins the question about a name that is under way, or makes a new one, which the caller must
    /// start.
    fn join(&self, state: &mut Lookups, name: &DnsName) -> (Waiter, Option<Question>) {
        if let Some(waiter) = state.questions.get(name) {
            return (waiter.clone(), None);
        }
        let (outcome, waiter) = watch::channel(None);
        state.questions.insert(name.clone(), waiter.clone());
        let question = Question {
            resolver: self.clone(),
            name: name.clone(),
            outcome,
        };
        (waiter, Some(question))
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

impl ResolverInner {
    fn state(&self) -> MutexGuard<'_, Lookups> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Question {
    async fn run(self) {
        let reply = self.resolver.0.upstream.resolve(&self.name).await;
        let outcome = self.conclude(reply, now());
        self.outcome.send_replace(Some(outcome));
    }

    fn conclude(&self, reply: Reply, now: Instant) -> LookupResult {
        let mut state = self.resolver.0.state();
        let (answer, ttl) = match reply {
            Reply::Addresses(addresses, ttl) => (Answer::Addresses(addresses), ttl),
            Reply::Negative(rcode, ttl) => (Answer::Negative { rcode }, ttl),
            Reply::Failed(failure) => {
                return match state.cache.stale(&self.name, now) {
                    Some(addresses) => {
                        Answer::Addresses(addresses).into_result(AddressSource::Stale)
                    }
                    None => Err(failure),
                };
            }
        };
        state
            .cache
            .insert(self.name.clone(), answer.clone(), ttl, now);
        answer.into_result(AddressSource::Dns)
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.resolver.0.state().questions.remove(&self.name);
    }
}

impl Answer {
    fn into_result(self, source: AddressSource) -> LookupResult {
        match self {
            Self::Addresses(addresses) => Ok(Resolution { addresses, source }),
            Self::Negative { rcode } => Err(LookupError::Negative { rcode }),
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

/// Reads the runtime's clock, which tests can move.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The most names in the cache. An allowlist asks for far fewer, but clients of a wildcard could
/// ask for more.
const MAX_ENTRIES: usize = 10_000;

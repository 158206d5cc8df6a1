//! The configuration: a TOML file, read into a mirror, checked, and turned into the options of each
//! part.
//!
//! A [`Config`] that exists is whole and consistent. If anything in the file is wrong, the result
//! is an [`Error`] that shows every wrong value at its place, and nothing of the file is used. An
//! unknown key or a wrong shape is shown alone, because serde stops there. The parts don't import
//! this module.
//!
//! | module | |
//! |---|---|
//! | `file` `words` | the mirror: its tables, and the words that keys hold |
//! | `forms` | how the relay's own types are written |
//! | `check` | from the mirror to the options of each part |
//! | `preset` | the vendor's list of destinations |
//! | `show` | from the options back to the mirror |

mod check;
mod file;
mod forms;
mod preset;
mod show;
#[cfg(test)]
mod tests;
mod words;

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use callhome_settings::{Document, Findings, Form, Name};
use jiff::Timestamp;

use self::file::File;
use crate::authority::Authority;
use crate::policy::Policy;
use crate::{admin, audit, dns, os, server, telemetry};

pub use callhome_settings::Error;

pub(crate) use self::preset::GUARDED;

/// A checked configuration: the options of each part.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name of this relay in every record.
    pub name: Arc<str>,
    pub listeners: Vec<server::ListenerOptions>,
    pub policy: Arc<Policy>,
    /// Addresses of this relay that no interface has.
    pub self_addresses: Vec<IpAddr>,
    /// The relays that `/proxy.pac` names, in this order. If there are none, it names the relay
    /// that was asked.
    pub pac_relays: Vec<Authority>,
    pub dns: dns::DnsOptions,
    pub timeouts: server::Timeouts,
    pub limits: server::Limits,
    pub audit: audit::AuditOptions,
    pub admin: admin::AdminOptions,
    pub sandbox: os::sandbox::SandboxOptions,
    pub log: telemetry::LogOptions,
    /// The first 12 hexadecimal digits of SHA-256 over [`Config::show`], which name the policy in
    /// the trail.
    pub digest: String,
    /// What is allowed but perhaps not meant, one sentence for each.
    pub warnings: Vec<String>,
    pub source: ConfigSource,
    effective: String,
}

/// Where a configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// The defaults, without a file.
    BuiltIn,
    File(PathBuf),
}

/// What the defaults depend on besides the file. It is an argument, so that tests can choose it.
struct Environment {
    now: Timestamp,
    host_name: String,
    /// The value of `$STATE_DIRECTORY`, which systemd and the container image set.
    state_directory: Option<OsString>,
}

impl Config {
    /// Reads and checks the configuration of a source.
    ///
    /// # Errors
    ///
    /// The file can't be read, or has mistakes. The error shows their places.
    pub fn load(source: &ConfigSource) -> Result<Self, Error> {
        let ConfigSource::File(path) = source else {
            return Self::built_in();
        };
        let mut config = Self::check(Document::load(path)?, &Environment::of_process())?;
        config.source = source.clone();
        Ok(config)
    }

    /// Checks a configuration that is given as text. Errors show `name` instead of a path.
    ///
    /// # Errors
    ///
    /// The text has mistakes. The error shows their places.
    pub fn parse(text: &str, name: &str) -> Result<Self, Error> {
        Self::parse_in(text, name, &Environment::of_process())
    }

    /// Returns the defaults, for a relay without a file.
    ///
    /// # Errors
    ///
    /// It fails only if the list in the binary is damaged.
    pub fn built_in() -> Result<Self, Error> {
        Self::parse("", "built-in defaults").map(|config| Self {
            source: ConfigSource::BuiltIn,
            ..config
        })
    }

    /// Returns the changed keys that a running relay can't take over. A reload that changes one of
    /// them is refused as a whole.
    pub fn changes_needing_restart(&self, new: &Self) -> Vec<&'static str> {
        [
            ("name", self.name != new.name),
            ("[[listener]]", self.listeners != new.listeners),
            ("[audit]", self.audit != new.audit),
            ("[admin]", self.admin != new.admin),
            ("[sandbox]", self.sandbox != new.sandbox),
            ("[log]", self.log != new.log),
        ]
        .into_iter()
        .filter_map(|(key, changed)| changed.then_some(key))
        .collect()
    }

    /// Returns the effective configuration as TOML: every key with the value in force, and the
    /// preset's destinations as comments.
    ///
    /// It reads as the same configuration. It holds no secret, because the file has the path of a
    /// token and never the token.
    pub fn show(&self) -> String {
        self.effective.clone()
    }

    fn parse_in(text: &str, name: &str, environment: &Environment) -> Result<Self, Error> {
        Self::check(Document::new(name, text), environment)
    }

    fn check(document: Document, environment: &Environment) -> Result<Self, Error> {
        let file: File = document.read()?;
        let mut findings = Findings::default();
        let relay = match &file.name {
            Some(written) => findings.read(written),
            None => Some(environment.relay_name()),
        };
        let listeners = check::listeners(&file, &mut findings);
        let limits = check::limits(&file.limits, &mut findings);
        let policy = check::policy(&file, limits.tunnels, environment.now, &mut findings);
        check::certificates(&file, &listeners, &mut findings);
        let dns = check::dns(&file.dns, &mut findings);
        let timeouts = check::timeouts(&file.timeouts, &mut findings);
        let self_addresses = findings.read_all(file.policy.self_addresses.as_ref());
        let pac_relays = findings.read_some(
            "relays",
            file.pac.relays.as_ref(),
            "remove the key for the relay that is asked",
        );
        let audit = check::audit(&file.audit, environment.state_directory(), &mut findings);
        let admin = check::admin(&file, &listeners, &mut findings);
        let sandbox = check::sandbox(&file.sandbox, &mut findings);
        let (Some(Name(relay)), Some(policy), 0) = (relay, policy, findings.problem_count()) else {
            return Err(findings.into_error(document));
        };
        let mut config = Self {
            name: relay,
            listeners,
            policy: Arc::new(policy),
            self_addresses,
            pac_relays: pac_relays.unwrap_or_default(),
            dns,
            timeouts,
            limits,
            audit,
            admin,
            sandbox,
            log: check::log(&file.log),
            digest: String::new(),
            warnings: findings.into_warnings(),
            source: ConfigSource::File(PathBuf::from(document.name())),
            effective: String::new(),
        };
        config.effective = show::effective(&config, &file);
        config.digest = show::digest(&config.effective);
        Ok(config)
    }
}

impl ConfigSource {
    /// Returns the file that was asked for. Without one it is the file in `/etc` if that exists,
    /// else the defaults.
    pub fn find(asked: Option<PathBuf>) -> Self {
        match asked {
            Some(path) => Self::File(path),
            // If it isn't known whether the file exists, reading the file gives the reason.
            None if Path::new(DEFAULT_PATH).try_exists().unwrap_or(true) => {
                Self::File(PathBuf::from(DEFAULT_PATH))
            }
            None => Self::BuiltIn,
        }
    }
}

impl fmt::Display for ConfigSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built-in defaults"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl Environment {
    fn of_process() -> Self {
        Self {
            now: Timestamp::now(),
            host_name: os::host_name(),
            state_directory: std::env::var_os("STATE_DIRECTORY"),
        }
    }

    fn relay_name(&self) -> Name {
        // The host's name may have characters that no record should have, but a relay needs a name.
        Name::read(&self.host_name).unwrap_or_else(|_| Name("callhome-relay".into()))
    }

    fn state_directory(&self) -> Option<PathBuf> {
        // systemd joins several directories with colons (systemd.exec(5)), and the first is ours.
        let directories = self.state_directory.as_ref()?;
        let first = std::env::split_paths(directories).next()?;
        (!first.as_os_str().is_empty()).then_some(first)
    }
}

/// Returns the commented file that `config default` prints. It reads as the built-in defaults.
pub fn default_file() -> &'static str {
    include_str!("default.toml")
}

/// Returns the JSON Schema of the file, for editors.
pub fn schema() -> serde_json::Value {
    callhome_settings::schema::<File>().into()
}

const DEFAULT_PATH: &str = "/etc/callhome-relay/relay.toml";

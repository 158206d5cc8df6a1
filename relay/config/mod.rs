//! The configuration: a TOML file, read into a mirror of its own, checked, and turned into the options of each part.
//!
//! Whoever holds a [`Config`] has a whole and consistent one: a mistake anywhere in the file gives an [`Error`] that shows every
//! place, and nothing of the file is used. Nobody below imports this module.

mod bound;
mod check;
mod error;
mod file;
mod names;
mod net;
mod preset;
mod report_only;
mod rules;
mod show;
#[cfg(test)]
mod tests;
mod trail;
mod units;
mod value;

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use self::check::Findings;
use self::error::Problem;
use self::file::File;
use self::names::Name;
use self::value::Form;
use crate::authority::Authority;
use crate::policy::Policy;
use crate::{admin, audit, dns, os, server, telemetry};

pub use self::error::Error;
pub(crate) use self::preset::GUARDED;

/// A checked configuration, in the terms of the parts that it is for.
#[derive(Clone, Debug)]
pub struct Config {
    /// This relay, in every record.
    pub name: Arc<str>,
    pub listeners: Vec<server::ListenerOptions>,
    pub policy: Arc<Policy>,
    /// Addresses that are this relay though no interface has them.
    pub self_addresses: Vec<IpAddr>,
    /// The relays that `/proxy.pac` names, in order; none for the one that is asked.
    pub pac_relays: Vec<Authority>,
    pub dns: dns::DnsOptions,
    pub timeouts: server::Timeouts,
    pub limits: server::Limits,
    pub audit: audit::AuditOptions,
    pub admin: admin::AdminOptions,
    pub sandbox: os::sandbox::SandboxOptions,
    pub log: telemetry::LogOptions,
    /// The first 12 hexadecimal digits of SHA-256 over [`Config::show`]: names the policy in the trail.
    pub digest: String,
    /// What is allowed but worth a look, a sentence each.
    pub warnings: Vec<String>,
    pub source: Source,
    effective: String,
}

/// Where a configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// No file: the defaults.
    BuiltIn,
    File(PathBuf),
}

/// What the defaults depend on besides the file; an argument, so that tests choose it.
struct Environment {
    now: Timestamp,
    host_name: String,
    /// `$STATE_DIRECTORY`, which systemd and the container image set.
    state_directory: Option<OsString>,
}

impl Config {
    /// Reads and checks the configuration of a source.
    ///
    /// # Errors
    ///
    /// The file can't be read, or is wrong; the error shows where.
    pub fn load(source: &Source) -> Result<Self, Error> {
        let Source::File(path) = source else {
            return Self::built_in();
        };
        let bytes = std::fs::read(path).map_err(|error| Error::unreadable(path, error))?;
        let name = path.display().to_string();
        let text = decode(bytes, &name)?;
        let mut config = Self::parse(&text, &name)?;
        config.source = source.clone();
        Ok(config)
    }

    /// Checks a configuration given as text; `name` stands for it in errors.
    ///
    /// # Errors
    ///
    /// Any mistake in it.
    pub fn parse(text: &str, name: &str) -> Result<Self, Error> {
        Self::parse_in(text, name, &Environment::of_process())
    }

    /// The defaults, for a relay without a file.
    ///
    /// # Errors
    ///
    /// None, unless the list in the binary is damaged.
    pub fn built_in() -> Result<Self, Error> {
        Self::parse("", "built-in defaults").map(|config| Self {
            source: Source::BuiltIn,
            ..config
        })
    }

    /// The keys whose change a running relay can't take over; a reload with any is refused as a whole.
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

    /// The effective configuration as TOML: every key with the value in force, the preset's destinations as comments. It reads
    /// as the same configuration, and holds no secret: a token is only ever named by its file.
    pub fn show(&self) -> String {
        self.effective.clone()
    }

    fn parse_in(text: &str, name: &str, environment: &Environment) -> Result<Self, Error> {
        let file: File = toml::from_str(text)
            .map_err(|error| Error::invalid(name, text, vec![Problem::from_toml(&error, text)]))?;
        let mut findings = Findings::default();
        let relay = match &file.name {
            Some(written) => findings.read(written),
            None => Some(environment.relay_name()),
        };
        let listeners = findings.listeners(&file);
        let limits = findings.limits(&file.limits);
        let policy = findings.policy(&file, limits.tunnels, environment.now);
        findings.certificates(&file, &listeners);
        let dns = findings.dns(&file.dns);
        let timeouts = findings.timeouts(&file.timeouts);
        let self_addresses = findings.read_all(file.policy.self_addresses.as_ref());
        let pac_relays = findings.read_some(
            "relays",
            file.pac.relays.as_ref(),
            "remove the key for the relay that is asked",
        );
        let audit = findings.audit(&file.audit, environment.state_directory());
        let admin = findings.admin(&file, &listeners);
        let sandbox = findings.sandbox(&file.sandbox);
        let (Some(Name(relay)), Some(policy), []) = (relay, policy, &*findings.problems) else {
            findings.problems.sort_by_key(Problem::start);
            return Err(Error::invalid(name, text, findings.problems));
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
            warnings: findings.warnings,
            source: Source::File(PathBuf::from(name)),
            effective: String::new(),
        };
        config.effective = show::effective(&config, &file);
        config.digest = show::digest(&config.effective);
        Ok(config)
    }
}

impl Source {
    /// The file that was asked for, else the one in `/etc` where there is one, else the defaults.
    pub fn find(asked: Option<PathBuf>) -> Self {
        match asked {
            Some(path) => Self::File(path),
            // When it can't be told, reading the file says why.
            None if Path::new(DEFAULT_PATH).try_exists().unwrap_or(true) => {
                Self::File(PathBuf::from(DEFAULT_PATH))
            }
            None => Self::BuiltIn,
        }
    }
}

impl fmt::Display for Source {
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
        // A host may be called something that no record should carry; a relay always has a name.
        Name::read(&self.host_name).unwrap_or_else(|_| Name("callhome-relay".into()))
    }

    fn state_directory(&self) -> Option<PathBuf> {
        // systemd joins several with colons (systemd.exec(5)); the first is ours.
        let directories = self.state_directory.as_ref()?;
        let first = std::env::split_paths(directories).next()?;
        (!first.as_os_str().is_empty()).then_some(first)
    }
}

/// The commented file that `config default` prints. It reads as the built-in defaults.
pub fn default_file() -> &'static str {
    include_str!("default.toml")
}

/// The JSON Schema of the file, for editors.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(File).into()
}

/// TOML is UTF-8. An error shows the line up to the first byte that isn't.
fn decode(bytes: Vec<u8>, name: &str) -> Result<String, Error> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes());
        let problem = Problem::new(at..at + '\u{fffd}'.len_utf8(), "the file is not UTF-8")
            .help("save it as UTF-8");
        Error::invalid(name, &text, vec![problem])
    })
}

const DEFAULT_PATH: &str = "/etc/callhome-relay/relay.toml";

//! The configuration file: read, checked, and turned into the options of each part.
//!
//! `file` mirrors what is written, `check` and `rules` give it meaning, `show` writes the effective configuration back. Every
//! mistake is reported with its place, the offending text and what to write instead; see [`Error`].

mod check;
mod error;
mod file;
mod names;
mod net;
mod preset;
mod rules;
mod show;
#[cfg(test)]
mod tests;
mod units;
mod value;

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use ring::digest;

use self::check::Findings;
use self::error::Problem;
use self::file::File;
use crate::policy::Policy;
use crate::server::{Limits, ListenerOptions, Timeouts};
use crate::{admin, audit, dns, os, telemetry};

pub use self::error::Error;
pub(crate) use self::preset::GUARDED;

/// A configuration that is fit to run.
#[derive(Clone, Debug)]
pub struct Config {
    pub name: Arc<str>,
    pub listeners: Vec<ListenerOptions>,
    pub policy: Arc<Policy>,
    /// Virtual or published addresses that lead to this relay.
    pub self_addresses: Vec<IpAddr>,
    pub dns: dns::Options,
    pub timeouts: Timeouts,
    pub limits: Limits,
    pub audit: audit::Options,
    pub admin: admin::Options,
    pub log: telemetry::Options,
    /// The first twelve hexadecimal digits of the SHA-256 of [`Config::show`]: names the policy in the trail.
    pub digest: String,
    /// What is allowed but may not be meant.
    pub warnings: Vec<String>,
    pub source: Source,
}

/// Where a configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    BuiltIn,
    File(PathBuf),
}

/// What the configuration takes from its surroundings.
#[derive(Clone, Debug)]
struct Surroundings {
    now: Timestamp,
    host_name: String,
    /// systemd's `$STATE_DIRECTORY`, which a container image sets too.
    state_directory: Option<PathBuf>,
}

impl Config {
    /// Reads and checks.
    pub fn load(source: &Source) -> Result<Self, Error> {
        let (text, name) = match source {
            Source::BuiltIn => (String::new(), Path::new("built-in")),
            Source::File(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| Error::unreadable(path, error))?;
                (text, path.as_path())
            }
        };
        let mut config = Self::parse(&text, &name.display().to_string())?;
        config.source = source.clone();
        Ok(config)
    }

    /// Checks a text; `name` stands for its file in errors.
    pub fn parse(text: &str, name: &str) -> Result<Self, Error> {
        Self::parse_in(text, name, Surroundings::here())
    }

    fn parse_in(text: &str, name: &str, around: Surroundings) -> Result<Self, Error> {
        let file: File = toml::from_str(text)
            .map_err(|error| Error::invalid(name, text, vec![Problem::from_toml(&error, text)]))?;
        let mut findings = Findings::default();
        let config = findings.config(&file, around);
        match config {
            Some(config) if findings.problems.is_empty() => Ok(Self {
                warnings: findings.warnings,
                ..config
            }),
            _ => Err(Error::invalid(name, text, findings.problems)),
        }
    }

    /// The keys in which `new` differs that are read only at the start.
    pub fn changes_needing_restart(&self, new: &Self) -> Vec<&'static str> {
        [
            ("name", self.name != new.name),
            ("[[listener]]", self.listeners != new.listeners),
            ("[audit]", self.audit != new.audit),
            ("[admin]", self.admin != new.admin),
            ("[log]", self.log != new.log),
        ]
        .into_iter()
        .filter_map(|(key, changed)| changed.then_some(key))
        .collect()
    }

    /// The effective configuration as a file that means the same, the preset's destinations as comments.
    pub fn show(&self) -> String {
        show::show(self)
    }
}

impl Findings {
    /// None after a problem with the policy; other problems leave a default in place.
    fn config(&mut self, file: &File, around: Surroundings) -> Option<Config> {
        let name = match &file.name {
            Some(name) => self.read(name)?.0,
            None => names::from_host(&around.host_name),
        };
        let listeners = self.listeners(file);
        let admin = self.admin(&file.admin, &listeners);
        let limits = self.limits(&file.limits);
        let audit = self.audit(&file.audit, around.state_directory);
        let self_addresses = self.read_some("self_addresses", file.policy.self_addresses.as_ref());
        let mut config = Config {
            name,
            listeners,
            self_addresses: self_addresses.unwrap_or_default(),
            dns: self.dns(&file.dns),
            timeouts: self.timeouts(&file.timeouts),
            audit,
            admin,
            log: check::log(&file.log),
            policy: Arc::new(self.policy(file, limits.tunnels, around.now)?),
            limits,
            digest: String::new(),
            warnings: Vec::new(),
            source: Source::BuiltIn,
        };
        config.digest = digest_of(&config.show());
        Some(config)
    }
}

impl Surroundings {
    fn here() -> Self {
        let state_directory = std::env::var_os("STATE_DIRECTORY")
            // systemd separates several by colons; the first is ours.
            .and_then(|paths| std::env::split_paths(&paths).next())
            .filter(|path| !path.as_os_str().is_empty());
        Self {
            now: Timestamp::now(),
            host_name: os::host_name(),
            state_directory,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built-in"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// The commented default file; what is not commented out in it, is the default.
pub fn default_file() -> &'static str {
    include_str!("default.toml")
}

/// The JSON Schema of the file.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(File).to_value()
}

fn digest_of(text: &str) -> String {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    let mut hex = String::new();
    for byte in digest.as_ref().iter().take(6) {
        // Writing to a String can't fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

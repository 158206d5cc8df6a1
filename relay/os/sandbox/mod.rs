//! The sandbox: before the first client can speak to it, the process gives up what it will never
//! need. Linux only.
//!
//! Suppose that an attacker runs code in here through a defect. That code finds no other program to
//! start, no file but the relay's own, no capability, and little of the kernel.
//!
//! It takes two steps, because the trail's files are made in between, and must belong to the
//! account that the relay becomes. [`Sandbox::prepare`] finds the account. [`Sandbox::enter`] gives
//! up the rest, in this order:
//!
//! | measure | by | module |
//! |---|---|---|
//! | no core dump, memory closed to others | `RLIMIT_CORE`, `PR_SET_DUMPABLE` | `privileges` |
//! | another user than root | `setgroups`, `setresgid`, `setresuid` | `account`, `privileges` |
//! | no capability, now or later | `capset`, the bounding and the ambient set | `privileges` |
//! | nothing gained by starting a program | `PR_SET_NO_NEW_PRIVS` | `privileges` |
//! | its own files only; no TCP port, no signal, no abstract socket outside | Landlock | `files` |
//! | no program, no process, no kernel interface that a relay has no use for | seccomp | `calls` |
//!
//! Everything but the core limit acts on the calling thread and on the threads that it starts
//! later. So the relay must enter while it has one thread. Files that are read only once must be
//! read before.

mod account;
mod calls;
mod files;
mod privileges;

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

pub use self::account::{Account, AccountError};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxOptions {
    pub mode: Confinement,
    /// The account to become if started as root: a name in /etc/passwd, or a number.
    pub user: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// Takes as many measures as the kernel allows.
    Auto,
    /// Takes all measures, or the relay doesn't start.
    Require,
    /// Takes none, but still becomes [`SandboxOptions::user`], which is asked for separately.
    Off,
}

/// The files that the relay goes on using.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Directories in which it makes, changes and removes files.
    pub written: Vec<PathBuf>,
    /// Files that it reads again. Each may be replaced by another file of the same name.
    pub read: Vec<PathBuf>,
}

/// A sandbox whose account is known. Nothing is given up yet.
#[derive(Debug)]
pub struct Sandbox {
    mode: Confinement,
    account: Option<Account>,
    /// The account was asked for, so the relay doesn't start without it.
    asked: bool,
    /// The process is root and stays so, though the configuration doesn't ask for that.
    stays_root: bool,
}

/// The measures that are in force from now on.
#[derive(Clone, Debug, Default)]
pub struct InForce {
    /// Each measure in a word or two.
    pub measures: Vec<Box<str>>,
    /// What the operator should know: measures that the kernel doesn't allow, and files that can't
    /// be read again.
    pub warnings: Vec<String>,
    /// Files that were opened without their directory.
    alone: Vec<PathBuf>,
}

/// Why the relay doesn't start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("[sandbox] user: {0}")]
    Account(#[from] AccountError),
    #[error("[sandbox] {measure} can't be had here: {error}")]
    Missing {
        measure: &'static str,
        error: io::Error,
    },
}

impl Sandbox {
    /// Finds the account.
    ///
    /// # Errors
    ///
    /// The account that was asked for doesn't exist.
    pub fn prepare(options: &SandboxOptions) -> Result<Self, SandboxError> {
        let mut sandbox = Self {
            mode: options.mode,
            account: None,
            asked: options.user.is_some(),
            stays_root: false,
        };
        if !privileges::is_root() {
            return Ok(sandbox);
        }
        sandbox.account = match &options.user {
            Some(user) => Some(Account::find(user)?),
            None if options.mode == Confinement::Off => None,
            // Most containers have no such file, or no such account in it, and that is no error.
            None => Account::find(DEFAULT_ACCOUNT).ok(),
        };
        sandbox.stays_root = sandbox.account.is_none();
        // The process is root already, so there is nothing to become.
        sandbox.account.take_if(|account| account.is_root());
        Ok(sandbox)
    }

    /// Gives the account that must own the relay's files, if it isn't the caller's.
    pub fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// Gives up everything else. The caller must end after an error, because the thread may have
    /// given up only part of it.
    ///
    /// # Errors
    ///
    /// A measure failed without which the relay mustn't start.
    pub fn enter(self, files: &Files) -> Result<InForce, SandboxError> {
        let mut force = InForce::default();
        let confined = self.mode != Confinement::Off;
        if confined {
            // The id is kept from now on, because its file will be out of reach.
            super::boot_id();
            self.take(&mut force, "core dumps off", privileges::no_core_dumps())?;
            // It takes a capability, which the change of the user takes away.
            privileges::empty_bounding_set();
        }
        if let Some(account) = &self.account {
            match privileges::become_account(account) {
                Ok(()) => force.has(format!("user {account}")),
                Err(error) if self.asked || self.mode == Confinement::Require => {
                    let measure = "another user";
                    return Err(SandboxError::Missing { measure, error });
                }
                Err(error) => {
                    force.warn(format!("it stays root and can't become {account}: {error}"));
                }
            }
        }
        if !confined {
            return Ok(force);
        }
        self.take(&mut force, "no capabilities", privileges::no_capabilities())?;
        // The change of the user has reset this to the system's default, so it is set here.
        self.take(&mut force, "no debugging", privileges::not_dumpable())?;
        // Without capabilities, the kernel lets only such a process use Landlock and seccomp.
        self.take(&mut force, "no_new_privs", privileges::no_new_privs())?;
        let restricted = files::restrict(files);
        if let Ok(restricted) = &restricted {
            force.alone.clone_from(&restricted.alone);
        }
        let abi = restricted.map(|restricted| restricted.abi);
        self.take_numbered(&mut force, "landlock", abi)?;
        self.take(&mut force, "seccomp", calls::refuse())?;
        if self.stays_root && !self.asked {
            force.warn(format!(
                "it stays root, though without capabilities: make an account \"{DEFAULT_ACCOUNT}\", or set `user`"
            ));
        }
        force.look_for_unreadable(files);
        Ok(force)
    }

    fn take(
        &self,
        force: &mut InForce,
        measure: &'static str,
        result: io::Result<()>,
    ) -> Result<(), SandboxError> {
        match result {
            Ok(()) => force.has(measure),
            Err(error) if self.mode == Confinement::Require => {
                return Err(SandboxError::Missing { measure, error });
            }
            Err(error) => force.warn(format!("{measure} can't be had here: {error}")),
        }
        Ok(())
    }

    /// Does the same for a measure whose strength is a number.
    fn take_numbered(
        &self,
        force: &mut InForce,
        measure: &'static str,
        result: io::Result<u8>,
    ) -> Result<(), SandboxError> {
        match result {
            Ok(number) => {
                force.has(format!("{measure} {number}"));
                Ok(())
            }
            Err(error) => self.take(force, measure, Err(error)),
        }
    }
}

impl InForce {
    /// Finds the first file that was replaced since the start and can't be read for that reason.
    pub fn replaced(&self) -> Option<&Path> {
        let denied = |path: &&PathBuf| {
            File::open(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        };
        self.alone.iter().find(denied).map(PathBuf::as_path)
    }

    fn has(&mut self, measure: impl Into<Box<str>>) {
        self.measures.push(measure.into());
    }

    fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// Warns today of a file that a reload, perhaps in a year, couldn't read.
    fn look_for_unreadable(&mut self, files: &Files) {
        for path in &files.read {
            if let Err(error) = File::open(path)
                && error.kind() == io::ErrorKind::PermissionDenied
            {
                let path = path.display();
                self.warn(format!("{path} can't be read again at a reload: {error}"));
            }
        }
    }
}

impl fmt::Display for InForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.measures {
            [] => f.write_str("nothing"),
            measures => f.write_str(&measures.join(", ")),
        }
    }
}

const DEFAULT_ACCOUNT: &str = "callhome-relay";

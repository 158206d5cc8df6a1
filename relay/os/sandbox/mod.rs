//! The process confines itself: what it will never need, it gives up before the first client can speak to it. Linux only.
//!
//! Whoever gets to run code in here through a defect finds no other program to start, no file but the relay's own, no capability,
//! and little of the kernel. Two steps, because what is in between belongs to the account that the relay becomes:
//! [`Sandbox::prepare`] finds the account, [`Sandbox::enter`] gives up the rest, in this order:
//!
//! | measure | by | module |
//! |---|---|---|
//! | no core dump, no debugger, no look into its memory by others of its user | `RLIMIT_CORE`, `PR_SET_DUMPABLE` | `privileges` |
//! | another user, if it was started as root | `setgroups`, `setresgid`, `setresuid` | `account`, `privileges` |
//! | no capability, now or later | `capset`, the bounding and the ambient set | `privileges` |
//! | nothing gained by starting a program | `PR_SET_NO_NEW_PRIVS` | `privileges` |
//! | its own files only; no TCP port, no signal, no abstract socket outside | Landlock | `files` |
//! | no program, no process, no kernel interface that a relay has no use for | seccomp | `calls` |
//!
//! Everything but the core limit acts on the calling thread and on those that it starts later. So a relay enters while it has one
//! thread, and what reads a file only once reads it before.

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
    pub mode: Mode,
    /// The account to become if started as root: a name in /etc/passwd, or a number.
    pub user: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As much as the kernel allows.
    Auto,
    /// All measures, or no start.
    Require,
    /// Nothing but [`SandboxOptions::user`], which is a wish of its own.
    Off,
}

/// The files that the relay goes on using.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Directories in which it makes, changes and removes files.
    pub written: Vec<PathBuf>,
    /// Files that it reads again; each may be replaced by another of its name.
    pub read: Vec<PathBuf>,
}

/// Whom to become is known; nothing is given up yet.
#[derive(Debug)]
pub struct Sandbox {
    mode: Mode,
    account: Option<Account>,
    /// It was asked for, so there is no start without it.
    asked: bool,
    /// Root, and nobody said that it should be.
    stays_root: bool,
}

/// What holds from now on.
#[derive(Clone, Debug, Default)]
pub struct InForce {
    /// The measures, a word or two each.
    pub measures: Vec<Box<str>>,
    /// What the operator should know: measures that the kernel doesn't allow, and files that can't be read again.
    pub warnings: Vec<String>,
    /// Files of whose directory only they were opened.
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
    /// The one that was asked for isn't there.
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
            None if options.mode == Mode::Off => None,
            // A file that can't be read, or has no such line, is what most containers have.
            None => Account::find(DEFAULT_ACCOUNT).ok(),
        };
        sandbox.stays_root = sandbox.account.is_none();
        // There is nothing to become.
        sandbox.account.take_if(|account| account.is_root());
        Ok(sandbox)
    }

    /// The account that the files of the relay will have to belong to, if it isn't that of the caller.
    pub fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// Gives up everything else. What fails half-way leaves the thread with part of it, so the caller must end.
    ///
    /// # Errors
    ///
    /// A measure fails that there is no start without.
    pub fn enter(self, files: &Files) -> Result<InForce, SandboxError> {
        let mut force = InForce::default();
        let confined = self.mode != Mode::Off;
        if confined {
            // It can't be read once files are out of reach.
            super::boot_id();
            self.take(&mut force, "core dumps off", privileges::no_core_dumps())?;
            privileges::empty_bounding_set();
        }
        if let Some(account) = &self.account {
            match privileges::become_account(account) {
                Ok(()) => force.has(format!("user {account}")),
                Err(error) if self.asked || self.mode == Mode::Require => {
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
        // A change of the user has set it to what the system has for such processes.
        self.take(&mut force, "no debugging", privileges::not_dumpable())?;
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
            Err(error) if self.mode == Mode::Require => {
                return Err(SandboxError::Missing { measure, error });
            }
            Err(error) => force.warn(format!("{measure} can't be had here: {error}")),
        }
        Ok(())
    }

    /// The same for one whose strength is a number.
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
    /// The first file that was replaced since the start and can't be read for that reason.
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

    /// A reload that fails in a year is better known of today.
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

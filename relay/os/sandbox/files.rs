//! Landlock: the files that stay reachable, and the other things that it can forbid.
//!
//! A rule is for what is at a path now: that very file, or all that is ever below a directory. When
//! a program replaces a file, it usually renames a new one over it, and no rule is for the new one.
//! So the directory of each file is opened too, unless others use that directory ([`is_shared`]).
//! Where the path is a link, the target's directory is opened too. That is where resolvers of names
//! and issuers of certificates put the next file.

use std::collections::BTreeSet;
use std::env;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
    make_bitflags,
};

use super::Files;

/// The result of [`restrict`].
#[derive(Debug)]
pub(super) struct Restricted {
    /// The version of Landlock that is in force; at most the newest that is used here.
    pub(super) abi: u8,
    /// The files of [`Files::read`] that were opened without their directories.
    pub(super) alone: Vec<PathBuf>,
}

/// Leaves the calling thread these files only. It forbids to bind a TCP port, and signals to and
/// abstract sockets of processes outside.
///
/// Older kernels forbid less. A kernel that forbids nothing is an error.
pub(super) fn restrict(files: &Files) -> io::Result<Restricted> {
    let Readable {
        directories,
        files: single,
        alone,
    } = Readable::of(&files.read);
    let read = directories.iter().chain(&single).map(|path| (path, READ));
    let written = files.written.iter().map(|path| (path, WRITE));
    let rules: Vec<_> = read.chain(written).collect();
    let status = enforce(&rules).map_err(io::Error::other)?;
    match status {
        Some(abi) => Ok(Restricted {
            abi: abi.min(NEWEST) as u8,
            alone,
        }),
        None => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the kernel has no Landlock, or it isn't among the modules of its `lsm=`, or the container's runtime forbids it",
        )),
    }
}

fn enforce(rules: &[(&PathBuf, BitFlags<AccessFs>)]) -> Result<Option<ABI>, RulesetError> {
    let scope = if notifies_abstract_socket() {
        Scope::Signal.into()
    } else {
        Scope::from_all(NEWEST)
    };
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::BindTcp)?
        .scope(scope)?
        .create()?;
    for (path, access) in rules {
        ruleset = add(ruleset, path, *access)?;
    }
    let status = ruleset.restrict_self()?;
    Ok(match status.landlock {
        LandlockStatus::Available { effective_abi, .. }
            if status.ruleset != RulesetStatus::NotEnforced =>
        {
            Some(effective_abi)
        }
        _ => None,
    })
}

/// Adds a rule for a path. A file that isn't there can't be opened, neither now nor later.
fn add(
    ruleset: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    match PathFd::new(path) {
        Ok(file) => ruleset.add_rule(PathBeneath::new(file, access)),
        Err(_) => Ok(ruleset),
    }
}

/// Tells whether the service manager listens at an abstract socket (`sd_notify(3)`), as it may in a
/// container.
fn notifies_abstract_socket() -> bool {
    env::var_os("NOTIFY_SOCKET").is_some_and(|socket| socket.as_bytes().starts_with(b"@"))
}

/// The paths to open, so that files can be read now and after they have been replaced.
#[derive(Debug, Default, PartialEq, Eq)]
struct Readable {
    directories: BTreeSet<PathBuf>,
    files: BTreeSet<PathBuf>,
    alone: Vec<PathBuf>,
}

impl Readable {
    fn of(paths: &[PathBuf]) -> Self {
        let mut readable = Self::default();
        for path in paths {
            readable.add(path);
        }
        readable
    }

    fn add(&mut self, path: &Path) {
        let parent = match path.parent() {
            Some(parent) if parent != "" => parent,
            _ => Path::new("."),
        };
        let mut followed = false;
        let target = path.canonicalize().ok();
        let directory = parent.canonicalize().ok();
        let directories = [
            directory,
            target.as_deref().and_then(Path::parent).map(Path::to_owned),
        ];
        for directory in directories.into_iter().flatten() {
            if !is_shared(&directory) {
                followed = true;
                self.directories.insert(directory);
            }
        }
        self.files.extend(target);
        if !followed {
            self.alone.push(path.to_owned());
        }
    }
}

/// Tells whether others use a directory too. Opening it for one file would open what isn't the
/// relay's: /etc has the passwords, a home directory has keys.
fn is_shared(directory: &Path) -> bool {
    let is = |path: &Path, any: &[&str]| any.iter().any(|it| path == *it);
    directory.components().count() <= 2
        || is(directory, SHARED)
        || directory.parent().is_some_and(|parent| is(parent, PARENTS))
        || directory.starts_with("/proc")
        || directory.starts_with("/sys")
}

/// The newest version with which this was tested. On a newer kernel the same is used.
const NEWEST: ABI = ABI::V6;
const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile});
const WRITE: BitFlags<AccessFs> =
    make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | Truncate | MakeReg | RemoveFile});
/// Shared directories, beside those in the root directory.
const SHARED: &[&str] = &[
    "/etc/letsencrypt",
    "/etc/pki",
    "/etc/pki/tls",
    "/etc/ssl",
    "/run/credentials",
    "/run/systemd",
    "/run/user",
];
/// Each directory directly below one of these is shared.
const PARENTS: &[&str] = &["/dev", "/home", "/run/user", "/usr", "/usr/local", "/var"];

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn set(paths: &[&Path]) -> BTreeSet<PathBuf> {
        paths.iter().map(|path| (*path).to_owned()).collect()
    }

    #[test]
    fn what_is_everybodys_is_not_opened_for_one_file() {
        for shared in [
            "/",
            "/etc",
            "/root",
            "/tmp",
            "/run",
            "/home/alice",
            "/var/lib",
            "/var/tmp",
            "/usr/local",
            "/usr/local/etc",
            "/etc/ssl",
            "/dev/shm",
            "/proc/self/fd",
            "/sys/kernel",
        ] {
            assert!(is_shared(Path::new(shared)), "{shared}");
        }
        for own in [
            "/etc/callhome-relay",
            "/etc/ssl/private",
            "/run/systemd/resolve",
            "/run/NetworkManager",
            "/var/lib/callhome-relay",
            "/opt/relay",
            "/home/alice/relay",
            "/run/credentials/callhome-relay.service",
            "/etc/letsencrypt/live/relay",
        ] {
            assert!(!is_shared(Path::new(own)), "{own}");
        }
    }

    #[test]
    fn a_file_is_opened_with_its_directory_and_that_of_what_it_links_to() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let (live, archive) = (root.join("live"), root.join("archive"));
        fs::create_dir(&live).unwrap();
        fs::create_dir(&archive).unwrap();
        fs::write(archive.join("cert1.pem"), "").unwrap();
        symlink("../archive/cert1.pem", live.join("cert.pem")).unwrap();
        let readable = Readable::of(&[live.join("cert.pem")]);
        assert_eq!(readable.directories, set(&[&archive, &live]));
        assert_eq!(readable.files, set(&[&archive.join("cert1.pem")]));
        assert!(readable.alone.is_empty());

        // A file that isn't there yet may come.
        let readable = Readable::of(&[live.join("none.pem")]);
        assert_eq!(readable.directories, set(&[&live]));
        assert!(readable.files.is_empty() && readable.alone.is_empty());

        let readable = Readable::of(&["/etc/passwd".into(), "/none/file".into()]);
        assert!(readable.directories.is_empty());
        assert_eq!(readable.files, set(&[Path::new("/etc/passwd")]));
        assert_eq!(readable.alone.len(), 2);
    }
}

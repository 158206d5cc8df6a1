//! Landlock: the files that are left, and what else it can forbid.
//!
//! A rule is for what lies at a path now: for a file, that very file, and for a directory whatever comes to be below it. A file
//! that is replaced by renaming another over it, as most programs replace files, is a new one. So the directory of each file is
//! opened with it, where it is one of its own ([`is_shared`]); and where the path is a link, that of the target too, where
//! resolvers of names and issuers of certificates put the next one.

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

/// What came of it.
#[derive(Debug)]
pub(super) struct Restricted {
    /// The version of Landlock that is in force, at most the newest that is used here.
    pub(super) abi: u8,
    /// The files of [`Files::read`] that were opened without their directories.
    pub(super) alone: Vec<PathBuf>,
}

/// Leaves these files to the calling thread, and no other; no bind of a TCP port; and no signal to, nor abstract socket of, a
/// process outside. Older kernels do less; none at all is an error.
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

/// What isn't there can't be opened now, and won't be later.
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

/// A service manager in a container may be told of the start by such a socket (`sd_notify(3)`).
fn notifies_abstract_socket() -> bool {
    env::var_os("NOTIFY_SOCKET").is_some_and(|socket| socket.as_bytes().starts_with(b"@"))
}

/// What has to be opened for files to be read now and after they have been replaced.
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

/// Whether a directory is everybody's, so that opening it for one file would open what isn't the relay's: /etc has the passwords,
/// a home directory has keys.
fn is_shared(directory: &Path) -> bool {
    let is = |path: &Path, any: &[&str]| any.iter().any(|it| path == *it);
    directory.components().count() <= 2
        || is(directory, SHARED)
        || directory.parent().is_some_and(|parent| is(parent, PARENTS))
        || directory.starts_with("/proc")
        || directory.starts_with("/sys")
}

/// The newest version that all of this was tried with. A newer kernel keeps to it.
const NEWEST: ABI = ABI::V6;
const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile});
const WRITE: BitFlags<AccessFs> =
    make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | Truncate | MakeReg | RemoveFile});
/// Beside those that lie in the root directory.
const SHARED: &[&str] = &[
    "/etc/letsencrypt",
    "/etc/pki",
    "/etc/pki/tls",
    "/etc/ssl",
    "/run/credentials",
    "/run/systemd",
    "/run/user",
];
/// Each directory in one of these is shared.
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

        // One that isn't there yet may come.
        let readable = Readable::of(&[live.join("none.pem")]);
        assert_eq!(readable.directories, set(&[&live]));
        assert!(readable.files.is_empty() && readable.alone.is_empty());

        let readable = Readable::of(&["/etc/passwd".into(), "/none/file".into()]);
        assert!(readable.directories.is_empty());
        assert_eq!(readable.files, set(&[Path::new("/etc/passwd")]));
        assert_eq!(readable.alone.len(), 2);
    }
}

//! The keys that seal a trail.
//!
//! Each checkpoint is signed with an Ed25519 key (RFC 8032) that it also retires. It names the
//! public half of its successor, and the private half of its own key is erased once the checkpoint
//! is durable.
//!
//! So an attacker on the machine has a key for later checkpoints and none for earlier
//! ones. The first public key must be kept somewhere else, because a proof rests on it alone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use callhome_trail::{PublicKey, SigningKey};

use super::files;

/// The keys of a directory: the one that signs the next checkpoint, and its successor.
#[derive(Debug)]
pub(super) struct Seal {
    directory: PathBuf,
    current: Arc<SigningKey>,
    successor: Arc<SigningKey>,
}

impl Seal {
    /// Reads the directory's key, or makes one. Returns `true` if it is new, because its public
    /// half must then be shown.
    ///
    /// `named` is the successor that the last checkpoint of the trail names. If a crash came
    /// between a checkpoint and the exchange of its key, the successor is still in the second file,
    /// and takes over now. `sign` is called with it before, to sign the head: a second crash would
    /// otherwise leave a head that none of the keys here has signed.
    pub(super) fn open(
        directory: &Path,
        named: Option<&PublicKey>,
        sign: impl FnOnce(&SigningKey) -> io::Result<()>,
    ) -> io::Result<(Self, bool)> {
        let (current, next) = (directory.join(CURRENT), directory.join(NEXT));
        let mut key = read_key(&current)?;
        if let (Some(named), Some(successor)) = (named, read_key(&next)?)
            && key.as_ref().is_none_or(|key| key.public() != *named)
            && successor.public() == *named
        {
            sign(&successor)?;
            exchange(&next, &current)?;
            key = Some(successor);
        }
        let new = key.is_none();
        let current = if let Some(key) = key {
            key
        } else {
            let key = SigningKey::generate()?;
            files::write_private(&current, key.text().as_bytes())?;
            key
        };
        let seal = Self {
            directory: directory.to_owned(),
            current: Arc::new(current),
            successor: Arc::new(SigningKey::generate()?),
        };
        Ok((seal, new))
    }

    pub(super) fn public(&self) -> PublicKey {
        self.current.public()
    }

    /// The key that signs the next checkpoint.
    pub(super) fn current(&self) -> Arc<SigningKey> {
        self.current.clone()
    }

    pub(super) fn successor(&self) -> PublicKey {
        self.successor.public()
    }

    /// The key that signs the head: the successor once its checkpoint is on the disk.
    pub(super) fn signer(&self, has_succeeded: bool) -> &SigningKey {
        if has_succeeded {
            &self.successor
        } else {
            &self.current
        }
    }

    /// Puts the successor on the disk before a checkpoint names it. Otherwise a crash could lose
    /// the key that is due.
    pub(super) fn prepare(&self) -> io::Result<()> {
        files::write_private(&self.directory.join(NEXT), self.successor.text().as_bytes())
    }

    /// Erases the key and lets its successor take over. The checkpoint that names the successor
    /// must be durable.
    pub(super) fn exchange(&mut self) -> io::Result<()> {
        let successor = Arc::new(SigningKey::generate()?);
        exchange(&self.directory.join(NEXT), &self.directory.join(CURRENT))?;
        self.current = std::mem::replace(&mut self.successor, successor);
        Ok(())
    }
}

/// The public halves of the keys that lie in a directory, readable or not.
///
/// A head that the relay left is signed by one of them. Which one depends on how far an exchange of
/// keys had got.
pub(super) fn public_keys(directory: &Path) -> Vec<PublicKey> {
    let paths = [directory.join(CURRENT), directory.join(NEXT)];
    let keys = paths.iter().filter_map(|path| read_key(path).ok()?);
    keys.map(|key| key.public()).collect()
}

/// Makes the first key of a directory that has none, and returns its public half.
pub fn generate(directory: &Path) -> io::Result<PublicKey> {
    files::make_directory(directory)?;
    let current = directory.join(CURRENT);
    if current.exists() {
        let message = format!("{} is there already", current.display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
    }
    let key = SigningKey::generate()?;
    files::write_private(&current, key.text().as_bytes())?;
    Ok(key.public())
}

fn read_key(path: &Path) -> io::Result<Option<SigningKey>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match SigningKey::parse(&text) {
        Some(key) => Ok(Some(key)),
        None => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} holds no key", path.display()),
        )),
    }
}

/// Overwrites the old key, and then renames the new one to its name. Copies that a file system or a
/// disk keeps are beyond reach.
///
/// It can be repeated after a failure: once `next` is gone, the rename is done, and `current` is
/// left alone.
fn exchange(next: &Path, current: &Path) -> io::Result<()> {
    if next.try_exists()? {
        if current.try_exists()? {
            files::overwrite(current)?;
        }
        fs::rename(next, current)?;
    }
    files::sync_directory(current)
}

const CURRENT: &str = "seal.key";
const NEXT: &str = "seal.key.next";

#[cfg(test)]
mod tests {
    use super::*;

    fn open(directory: &Path, named: Option<&PublicKey>) -> io::Result<(Seal, bool)> {
        Seal::open(directory, named, |_| Ok(()))
    }

    #[test]
    fn each_key_signs_once_and_names_its_successor() {
        let directory = tempfile::tempdir().unwrap();
        let (mut seal, new) = open(directory.path(), None).unwrap();
        assert!(new);
        let genesis = seal.public();
        let signature = seal.current().sign(b"past");
        assert!(genesis.verifies(b"past", &signature));
        assert!(!genesis.verifies(b"pasT", &signature));
        let named = seal.successor();
        seal.prepare().unwrap();
        seal.exchange().unwrap();
        assert_eq!(seal.public(), named);
        assert!(!genesis.verifies(b"past", &seal.current().sign(b"past")));
        let (again, new) = open(directory.path(), Some(&named)).unwrap();
        assert!(!new);
        assert_eq!(again.public(), named);
    }

    #[test]
    fn a_crash_before_the_exchange_is_made_good() {
        let directory = tempfile::tempdir().unwrap();
        let (seal, _) = open(directory.path(), None).unwrap();
        let (old, named) = (seal.public(), seal.successor());
        seal.prepare().unwrap();
        drop(seal);
        let (seal, _) = open(directory.path(), Some(&named)).unwrap();
        assert_eq!(seal.public(), named);
        drop(seal);
        // The old key is still the right one if the checkpoint never reached the disk.
        let directory = tempfile::tempdir().unwrap();
        let (seal, _) = open(directory.path(), None).unwrap();
        seal.prepare().unwrap();
        let first = seal.public();
        drop(seal);
        let (seal, _) = open(directory.path(), Some(&first)).unwrap();
        assert_eq!(seal.public(), first);
        assert_ne!(first, old);
    }

    #[test]
    fn an_exchange_that_failed_at_its_end_is_repeated() {
        let directory = tempfile::tempdir().unwrap();
        let (mut seal, _) = open(directory.path(), None).unwrap();
        seal.prepare().unwrap();
        let named = seal.successor();
        // The exchange succeeds but for the last sync of the directory.
        exchange(
            &directory.path().join(NEXT),
            &directory.path().join(CURRENT),
        )
        .unwrap();
        seal.exchange().unwrap();
        assert_eq!(seal.public(), named);
        drop(seal);
        let (seal, _) = open(directory.path(), Some(&named)).unwrap();
        assert_eq!(seal.public(), named);
    }

    #[test]
    fn a_key_is_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let public = generate(directory.path()).unwrap();
        assert!(generate(directory.path()).is_err());
        assert_eq!(open(directory.path(), None).unwrap().0.public(), public);
    }
}

//! What proves the trail from outside its lines: the keys, the head, and the kept checkpoints.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use callhome_trail::{HEAD, Head, PublicKey, SigningKey};

use super::super::files;
use super::super::kept::Kept;
use super::super::seal::Seal;

/// The keys, and the files that depend on them.
#[derive(Debug)]
pub(in crate::audit) struct Vault {
    directory: PathBuf,
    seal: Seal,
    kept: Kept,
    /// A checkpoint whose key isn't exchanged yet.
    on_its_way: Option<OnItsWay>,
}

/// A checkpoint that was chained and may not be durable.
#[derive(Debug)]
pub(in crate::audit) struct OnItsWay {
    pub(in crate::audit) seq: u64,
    pub(in crate::audit) line: Vec<u8>,
}

/// The key for one checkpoint. Signing consumes it, because each key signs once.
#[derive(Debug)]
pub(in crate::audit) struct Signer {
    key: Arc<SigningKey>,
    successor: PublicKey,
}

impl Vault {
    /// Opens the vault, and gives the key for the first checkpoint.
    pub(in crate::audit) fn open(
        directory: &Path,
        seal: Seal,
        kept: Kept,
    ) -> io::Result<(Self, Signer)> {
        let vault = Self {
            directory: directory.to_owned(),
            seal,
            kept,
            on_its_way: None,
        };
        let signer = vault.signer()?;
        Ok((vault, signer))
    }

    /// Prepares the key for the next checkpoint. Its successor is on the disk before a checkpoint
    /// can name it.
    fn signer(&self) -> io::Result<Signer> {
        self.seal.prepare()?;
        Ok(Signer {
            key: self.seal.current(),
            successor: self.seal.successor(),
        })
    }

    /// Takes a checkpoint, whose key is exchanged once it is durable.
    pub(super) fn expect(&mut self, checkpoint: OnItsWay) {
        self.on_its_way = Some(checkpoint);
    }

    /// Erases the key of a checkpoint that a sync has just made durable, and puts its successor in
    /// place. The head is saved before, signed by the successor. Gives the key for the next
    /// checkpoint.
    ///
    /// This must come after the sync. If the key were erased first, a crash could lose the
    /// checkpoint: the trail would then end with an older one, and no key that is left would be the
    /// one that it names.
    ///
    /// A failure leaves the checkpoint on its way, so the next sync repeats every step.
    pub(super) fn exchange(&mut self, head: &Head) -> io::Result<Option<Signer>> {
        let Some(checkpoint) = &self.on_its_way else {
            return Ok(None);
        };
        self.save_head(head)?;
        self.kept.add(&checkpoint.line)?;
        self.seal.exchange()?;
        let signer = self.signer()?;
        self.on_its_way = None;
        Ok(Some(signer))
    }

    /// Saves the end of the trail, so that a restart notices records that were cut off. It is
    /// signed by the key that the last checkpoint at or before it names.
    pub(super) fn save_head(&self, head: &Head) -> io::Result<()> {
        let has_succeeded = self
            .on_its_way
            .as_ref()
            .is_some_and(|it| it.seq <= head.seq);
        save_head(&self.directory, head, self.seal.signer(has_succeeded))
    }
}

/// Saves a head, signed by this key.
pub(in crate::audit) fn save_head(
    directory: &Path,
    head: &Head,
    key: &SigningKey,
) -> io::Result<()> {
    let head = head.clone().signed(key);
    let text = serde_json::to_vec(&head).map_err(io::Error::from)?;
    files::replace(&directory.join(HEAD), &text, 0o640)
}

impl Signer {
    pub(in crate::audit) fn key(&self) -> PublicKey {
        self.key.public()
    }

    pub(in crate::audit) fn successor(&self) -> &PublicKey {
        &self.successor
    }

    pub(in crate::audit) fn sign(self, bytes: &[u8]) -> String {
        self.key.sign(bytes)
    }
}

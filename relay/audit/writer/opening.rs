//! Opening the trail: taking its directory, recovering it, finding or making its key.

use std::io;

use callhome_trail::{AuditGap, Chain, PublicKey, Record};

use super::super::kept::Kept;
use super::super::options::AuditOptions;
use super::super::recover::{self, Recovered};
use super::super::seal::Seal;
use super::super::store::{self, Store};

/// A trail that is ready to be written, and the records that must come first.
pub(in crate::audit) struct OpenedTrail {
    pub(in crate::audit) chain: Chain,
    pub(super) store: Option<Store>,
    pub(super) seal: Option<Seal>,
    pub(super) kept: Option<Kept>,
    pub(super) gaps: Vec<AuditGap>,
    pub(super) lost: Vec<Record>,
    /// The public half of a key that was made just now.
    pub(in crate::audit) new_key: Option<PublicKey>,
}

/// Takes the directory of the trail, recovers it, and finds or makes its key.
pub(in crate::audit) fn open(options: &AuditOptions) -> io::Result<OpenedTrail> {
    let Some(directory) = &options.directory else {
        // Each run is a trail of its own, because there is no place to keep a state.
        return Ok(OpenedTrail {
            chain: Chain::new(uuid::Uuid::now_v7().to_string().into_boxed_str()),
            store: None,
            seal: None,
            kept: None,
            gaps: Vec::new(),
            lost: Vec::new(),
            new_key: None,
        });
    };
    // Lock first: recovery moves files that another relay might be writing.
    let lock = store::lock(directory)?;
    let Recovered {
        chain,
        mut gaps,
        lost,
        successor,
        kept,
    } = recover::recover(directory)?;
    let (seal, new) = Seal::open(directory, successor.as_ref())?;
    if successor.is_some_and(|named| named != seal.public()) {
        gaps.push(AuditGap::unnumbered(
            "the key isn't the one that the last checkpoint names: the end of the trail was cut off, or the key replaced",
        ));
    }
    let store = Store::open(directory, lock, &chain)?;
    Ok(OpenedTrail {
        chain,
        store: Some(store),
        new_key: new.then(|| seal.public()),
        seal: Some(seal),
        kept: Some(kept),
        gaps,
        lost,
    })
}

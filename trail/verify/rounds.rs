//! Reads a trail line by line to its end, and goes on while its relay writes.

use std::io;
use std::path::Path;

use super::Verifier;
use super::duplicates::Duplicates;
use super::missing::Missing;
use super::verification::{Broken, Pin, Verification, VerifyError};
use super::witness::Witness;
use crate::chain::Line;
use crate::head::{Head, HeadFile};
use crate::key::PublicKey;
use crate::reader::Reader;
use crate::seals as kept;
use crate::segments;

/// What a trail is held against, beside itself.
#[derive(Clone, Debug, Default)]
pub struct Evidence<'a> {
    /// The first public key of the trail.
    pub key: Option<PublicKey>,
    /// A file of records that were kept elsewhere.
    pub witness: Option<&'a Path>,
    /// An end that the trail had before.
    pub pin: Option<Pin>,
}

/// Verifies a directory, a file, or standard input for `-`.
///
/// A file may be a copy that syslog kept. There, records have a header before them, and may come
/// twice. `progress` is called now and then with the reader, which counts the bytes.
pub fn verify(
    path: &Path,
    evidence: &Evidence<'_>,
    mut progress: impl FnMut(&Reader),
) -> Result<Verification, VerifyError> {
    for _ in 0..MAX_TRIES {
        match verify_once(path, evidence, &mut progress) {
            // The relay pruned a segment between the look at the directory and the look into it.
            Err(VerifyError::Io(error))
                if error.kind() == io::ErrorKind::NotFound && path.is_dir() => {}
            result => return result,
        }
    }
    Err(pruned_too_fast().into())
}

fn verify_once(
    path: &Path,
    evidence: &Evidence<'_>,
    mut progress: impl FnMut(&Reader),
) -> Result<Verification, VerifyError> {
    let mut verifier = Verifier::of(path)?;
    verifier.hold_against(evidence)?;
    let mut reader = Reader::open(path)?;
    verifier.read(&mut reader, &mut progress)?;
    for _ in 0..MAX_ROUNDS {
        // A relay may have written more meanwhile. Go on up to where it says now that the trail
        // ends, because that is what the newest signature covers.
        if !verifier.look_at_head_again(path)? {
            break;
        }
        verifier.resumed_at = verifier.next;
        // The half line that this round ended with is whole by now.
        verifier.unfinished = None;
        reader = Reader::open_from(path, verifier.next)?;
        if is_pruned(path, verifier.next)? {
            return Err(pruned_too_fast().into());
        }
        verifier.read(&mut reader, &mut progress)?;
    }
    Ok(verifier.finish()?)
}

/// Whether the record with which the reading goes on was pruned meanwhile.
fn is_pruned(directory: &Path, next: u64) -> io::Result<bool> {
    let segments = segments::list(directory)?;
    Ok(segments.first().is_some_and(|it| it.first > next))
}

fn pruned_too_fast() -> io::Error {
    let message = "the trail is pruned faster than it is read";
    io::Error::new(io::ErrorKind::NotFound, message)
}

/// Turns an error of the reader into a verdict. A file that can't be read to its end is damage, one
/// that can't be opened isn't.
pub(crate) fn unreadable(reader: &Reader, error: io::Error) -> VerifyError {
    match reader.place() {
        Some(place) => VerifyError::Broken(Broken {
            place,
            seq: None,
            what: format!("it can't be read on: {error}"),
        }),
        None => error.into(),
    }
}

impl Verifier {
    /// Makes a verifier for a directory, a file, or standard input for `-`.
    ///
    /// It must be made before the trail is opened. The files beside a trail may be behind it and
    /// are never ahead of it. Read later, they could name records that a relay wrote after the
    /// trail was listed.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let is_copy = !path.is_dir();
        let mut verifier = Self {
            is_copy,
            duplicates: Duplicates::of(is_copy),
            missing: Missing::of(is_copy),
            ..Self::default()
        };
        if !is_copy {
            verifier.seals.open(path)?;
            verifier.head = Head::load(path)?;
            verifier.look_at_kept(path)?;
        }
        Ok(verifier)
    }

    pub(crate) fn hold_against(&mut self, evidence: &Evidence<'_>) -> io::Result<()> {
        self.witness = evidence.witness.map(Witness::open).transpose()?;
        self.pin.clone_from(&evidence.pin);
        self.report.pin_compared = evidence.pin.as_ref().map(|_| false);
        match (&evidence.key, &evidence.pin) {
            (Some(key), _) => self.seals.trust(key.clone(), 0),
            (None, Some(pin)) => {
                if let Some(next) = &pin.next {
                    self.seals.trust(next.clone(), pin.seq);
                }
            }
            (None, None) => {}
        }
        Ok(())
    }

    fn read(
        &mut self,
        reader: &mut Reader,
        progress: &mut impl FnMut(&Reader),
    ) -> Result<(), VerifyError> {
        let mut lines = 0_u64;
        loop {
            match reader.next_line() {
                Ok(Some(raw)) => {
                    self.take(&raw)?;
                }
                Ok(None) => break,
                Err(error) => return Err(unreadable(reader, error)),
            }
            lines += 1;
            if lines.is_multiple_of(4096) {
                progress(reader);
            }
        }
        progress(reader);
        Ok(())
    }

    /// Reads what the directory says of its end once more. Returns whether the trail goes on
    /// further than it was read.
    fn look_at_head_again(&mut self, path: &Path) -> io::Result<bool> {
        if self.is_copy || self.first.is_none() {
            return Ok(false);
        }
        let newer = Head::load(path)?;
        // One that is there now and wasn't before is as good; one that is gone or spoilt isn't.
        if matches!(newer, HeadFile::Read(_)) {
            self.head = newer;
        }
        self.look_at_kept(path)?;
        Ok(matches!(&self.head, HeadFile::Read(head) if head.seq >= self.next))
    }

    fn look_at_kept(&mut self, path: &Path) -> io::Result<()> {
        let last = kept::last(path)?.line;
        let last = last.and_then(|line| Some(Line::parse(&line).ok()?.seq));
        self.last_kept = last;
        Ok(())
    }
}

/// How often the end of a trail that is being written is followed.
const MAX_ROUNDS: usize = 10;
/// How often a trail is read from its beginning, if its oldest segments are pruned meanwhile.
const MAX_TRIES: usize = 10;

//! Reads trails into a report, and proves them while they are read.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;

use super::{Builder, ChainVerdict, Month, Report, SealVerdict, Trail};
use crate::chain::Line;
use crate::key::PublicKey;
use crate::reader::Reader;
use crate::record::Record;
use crate::verify::{Broken, Evidence, Verification, Verifier, VerifyError, unreadable};

/// A trail to be read.
#[derive(Clone, Debug)]
pub struct Source {
    /// A directory, a file, or `-` for standard input.
    pub path: PathBuf,
    /// Its first public key. With it, the seals are checked.
    pub key: Option<PublicKey>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{} and {} are one trail: its records would count twice", .0.display(), .1.display())]
    Twice(PathBuf, PathBuf),
}

/// Sums up the month of these trails.
///
/// Of a broken trail, every record whose own hash is right is summed up, and the report marks the
/// trail as broken.
pub fn read(
    month: Month,
    sources: &[Source],
    mut progress: impl FnMut(&Reader),
) -> Result<Report, ReadError> {
    let mut builder = Builder::new(month);
    for source in sources {
        builder.begin(source.path.display().to_string());
        let trail = read_trail(&mut builder, source, &mut progress)?;
        let same = |other: &Trail| !trail.is_empty() && other.trail == trail;
        if let Some(at) = builder.trails.iter().position(same) {
            let other = sources[at].path.clone();
            return Err(ReadError::Twice(other, source.path.clone()));
        }
        if let Some(last) = builder.trails.last_mut() {
            last.trail = trail;
        }
    }
    Ok(builder.finish())
}

/// Adds the records of a trail, and returns its id.
fn read_trail(
    builder: &mut Builder,
    source: &Source,
    progress: &mut impl FnMut(&Reader),
) -> io::Result<String> {
    let mut verifier = Verifier::of(&source.path)?;
    verifier.hold_against(&Evidence {
        key: source.key.clone(),
        ..Evidence::default()
    })?;
    let mut verifier = Some(verifier);
    let mut reader = Reader::open(&source.path)?;
    let mut broken = None;
    let mut seen = HashSet::new();
    let mut trail = String::new();
    let mut unread = 0;
    let mut lines = 0_u64;
    loop {
        let raw = match reader.next_line() {
            Ok(Some(raw)) => raw,
            Ok(None) => break,
            // The rest of this file is left out of the report, and the next files are read.
            Err(error) => match unreadable(&reader, error) {
                VerifyError::Io(error) => return Err(error),
                VerifyError::Broken(what) => {
                    broken.get_or_insert_with(|| what.to_string());
                    verifier = None;
                    unread += 1;
                    reader.skip_file();
                    continue;
                }
            },
        };
        let taken = verifier.as_mut().map(|verifier| verifier.take(&raw));
        let line = match taken {
            Some(Ok(line)) => line,
            Some(Err(error)) => {
                broken = Some(error.to_string());
                verifier = None;
                Line::parse(raw.bytes).ok()
            }
            None => Line::parse(raw.bytes).ok(),
        };
        if let Some(line) = &line
            && (verifier.is_some() || seen.insert((line.seq, line.hash)))
        {
            if trail.is_empty() {
                line.trail.as_ref().clone_into(&mut trail);
            }
            match Record::of(line) {
                Some(record) => builder.add(&record),
                None => unread += 1,
            }
        } else if verifier.is_none() && line.is_none() {
            unread += 1;
        }
        lines += 1;
        if lines.is_multiple_of(4096) {
            progress(&reader);
        }
    }
    progress(&reader);
    let proof = verifier.map(Verifier::finish);
    if let Some(last) = builder.trails.last_mut() {
        last.broken = broken;
        last.unread = unread;
        last.prove(proof, source.key.is_some());
    }
    Ok(trail)
}

impl Trail {
    /// Takes what the verifier says, or nothing if the trail was found broken on the way.
    fn prove(&mut self, proof: Option<Result<Verification, Broken>>, has_key: bool) {
        let seals = |verdict| {
            if has_key {
                verdict
            } else {
                SealVerdict::NotChecked
            }
        };
        let verified = match proof {
            Some(Ok(verified)) => verified,
            failed => {
                if let Some(Err(error)) = failed {
                    self.broken = Some(error.to_string());
                }
                self.verdict = ChainVerdict::Broken;
                self.seals = seals(SealVerdict::Broken);
                return;
            }
        };
        self.verdict = if verified.gaps.is_empty() {
            ChainVerdict::Whole
        } else {
            ChainVerdict::Gaps
        };
        self.seals = seals(SealVerdict::Valid);
        self.sealed_to = verified.sealed_to;
        self.signed_to = verified.signed_to;
    }
}

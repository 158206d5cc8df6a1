//! The witness: records of the trail that were kept elsewhere.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use crate::chain::Line;
use crate::hash::Hash;
use crate::reader::Reader;

/// Records that were kept elsewhere, perhaps of several trails. A record is removed once it was
/// compared.
#[derive(Debug)]
pub(super) struct Witness {
    trails: HashMap<Box<str>, Records>,
    compared: u64,
}

/// Hashes by number, none where the witness has two records under one number.
type Records = HashMap<u64, Option<Hash>>;

impl Witness {
    /// Reads a file of records, which may have other lines between them.
    pub(super) fn load(path: &Path) -> io::Result<Self> {
        let mut trails: HashMap<Box<str>, Records> = HashMap::new();
        let mut reader = Reader::open(path)?;
        while let Some(raw) = reader.next_line()? {
            let Ok(line) = Line::parse(raw.bytes) else {
                continue;
            };
            trails
                .entry(line.trail.as_ref().into())
                .or_default()
                .entry(line.seq)
                .and_modify(|kept| {
                    kept.take_if(|hash| *hash != line.hash);
                })
                .or_insert(Some(line.hash));
        }
        if trails.is_empty() {
            let message = format!("{}: there is no record in the witness", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(Self {
            trails,
            compared: 0,
        })
    }

    /// Checks that the witness has no other record under the number of this one.
    pub(super) fn compare(&mut self, line: &Line<'_>) -> Result<(), String> {
        let records = self.trails.get_mut(&*line.trail);
        match records.and_then(|records| records.remove(&line.seq)) {
            Some(Some(hash)) if hash == line.hash => self.compared += 1,
            Some(Some(_)) => {
                return Err("the witness kept another record under this number".into());
            }
            Some(None) => return Err("the witness kept two records under this number".into()),
            None => {}
        }
        Ok(())
    }

    /// How many records of the trail the witness has too.
    pub(super) fn compared(&self) -> u64 {
        self.compared
    }

    /// How the witness contradicts a trail that was read to its end and begins with record `first`,
    /// if it does.
    pub(super) fn contradicts(&self, trail: &str, first: u64) -> Option<String> {
        let left = self.trails.get(trail).into_iter().flat_map(Records::keys);
        if let Some(seq) = left.copied().filter(|seq| *seq >= first).min() {
            return Some(format!(
                "the witness has record {seq}, and the trail doesn't"
            ));
        }
        // The witness is of another trail, or of records that were pruned since.
        (self.compared == 0).then(|| "the witness has none of the trail's records".into())
    }
}

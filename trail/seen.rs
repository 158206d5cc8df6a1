//! Remembers which records were read, so that a record that comes again is known.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap, RandomState};
use std::hash::BuildHasher as _;

use crate::chain::Line;

/// The records of one or more trails that were read, as far as the memory for them reaches.
///
/// A copy may hold two trails, records that were sent again, and two records under one number. So a
/// record is known by its trail, its number and its hash. One that was forgotten counts as new,
/// because a record that is shown twice does less harm than one that is missing.
#[derive(Debug, Default)]
pub struct Seen {
    blocks: HashMap<BlockKey, Box<Block>>,
    /// The oldest block is first.
    order: VecDeque<BlockKey>,
    hasher: RandomState,
}

/// The hash of the trail's name, and the number of the block in that trail.
type BlockKey = (u64, u64);

/// A mark for each record of neighbouring numbers, 0 for none. The mark is a hash with a secret of
/// this process, so that nobody can make another record with the same mark.
type Block = [u32; RECORDS];

impl Seen {
    /// Notes a record. Returns whether it is new.
    pub fn insert(&mut self, line: &Line<'_>) -> bool {
        self.insert_record(&line.trail, line.seq, line.hash.as_bytes())
    }

    fn insert_record(&mut self, trail: &str, seq: u64, hash: &[u8]) -> bool {
        let trail = self.hasher.hash_one(trail);
        #[expect(clippy::cast_possible_truncation, reason = "half of a hash is a hash")]
        let mark = (self.hasher.hash_one((trail, seq, hash)) as u32).max(1);
        let key = (trail, seq / RECORDS as u64);
        let block = match self.blocks.entry(key) {
            Entry::Occupied(block) => block.into_mut(),
            Entry::Vacant(place) => {
                self.order.push_back(key);
                place.insert(Box::new([0; RECORDS]))
            }
        };
        #[expect(clippy::cast_possible_truncation, reason = "less than RECORDS")]
        let known = &mut block[(seq % RECORDS as u64) as usize];
        let is_new = *known != mark;
        *known = mark;
        if self.blocks.len() > BLOCKS
            && let Some(oldest) = self.order.pop_front()
        {
            self.blocks.remove(&oldest);
        }
        is_new
    }
}

/// The numbers in one block.
const RECORDS: usize = 256;
/// 64 MiB of blocks, for 16 million records in a row.
const BLOCKS: usize = if cfg!(test) { 8 } else { 64 * 1024 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_known_by_trail_number_and_hash() {
        let mut seen = Seen::default();
        assert!(seen.insert_record("a", 1, b"x"));
        assert!(!seen.insert_record("a", 1, b"x"));
        assert!(seen.insert_record("b", 1, b"x"), "another trail");
        assert!(seen.insert_record("a", 257, b"x"), "another number");
        assert!(seen.insert_record("a", 1, b"y"), "another record");
        assert!(!seen.insert_record("b", 1, b"x"));
        assert!(seen.insert_record("a", u64::MAX, b"x"));
        assert!(seen.insert_record("a", 0, b"x"));
    }

    #[test]
    fn numbers_far_apart_take_bounded_memory() {
        let mut seen = Seen::default();
        for n in 0..10_000 {
            assert!(seen.insert_record("a", n * 1_000_000, b"x"));
        }
        assert!(seen.blocks.len() <= BLOCKS && seen.order.len() <= BLOCKS);
        assert!(
            !seen.insert_record("a", 9_999_000_000, b"x"),
            "the last is known"
        );
        assert!(seen.insert_record("a", 0, b"x"), "the first is forgotten");
    }
}

//! Finds the newest inventory that an earlier run left in the trail.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, Read as _};
use std::path::Path;

use callhome_trail::segments::{self, MAX_LINE};
use callhome_trail::{Event, Inventory, InventoryParts, Line, Record};

/// Reads segments from the newest one back, until an inventory is whole. As a rule it is at the
/// head of the newest one.
///
/// A start waits for this, so it reads a bounded part of the trail. A trail without an inventory
/// there is as one without any: its clients are new.
pub(in crate::audit) fn newest(directory: &Path) -> io::Result<Option<Inventory>> {
    let mut parts: VecDeque<Record> = VecDeque::new();
    let mut budget = MOST;
    for segment in segments::list(directory)?.iter().rev() {
        let mut found = Vec::new();
        // Damage is reported by recovery and by `audit verify`.
        let _ = read(&segment.path, &mut budget, &mut found);
        if !found.is_empty() {
            // An inventory that is larger than a segment is in several.
            found.into_iter().rev().for_each(|it| parts.push_front(it));
            let mut whole = InventoryParts::default();
            let inventories = parts.iter().filter_map(|part| whole.take(part));
            if let Some(inventory) = inventories.last() {
                return Ok(Some(inventory));
            }
        }
        if budget == 0 {
            tracing::warn!(
                "the newest part of the trail has no inventory: its clients count as new from now on"
            );
            break;
        }
    }
    Ok(None)
}

/// Reads the inventory records of a segment.
fn read(path: &Path, budget: &mut u64, found: &mut Vec<Record>) -> io::Result<()> {
    let (path, file) = segments::open_listed(path)?;
    let mut input = segments::decode(&path, file)?;
    let mut bytes = Vec::new();
    while *budget > 0 {
        bytes.clear();
        let length = (&mut input).take(MAX_LINE).read_until(b'\n', &mut bytes)?;
        if length == 0 {
            break;
        }
        *budget = budget.saturating_sub(length as u64);
        let line = bytes.trim_ascii_end();
        if is_inventory(line)
            && let Ok(line) = Line::parse(line)
            && let Some(record) = Record::of(&line)
            && record.event == Event::Inventory
        {
            found.push(record);
        }
    }
    Ok(())
}

/// Tells from the beginning of a line whether it may be an inventory, because parsing and hashing
/// every line would make the start slow.
fn is_inventory(line: &[u8]) -> bool {
    const EVENT: &[u8] = b"\"event\":\"inventory\"";
    let begin = &line[..line.len().min(HEAD)];
    begin.windows(EVENT.len()).any(|window| window == EVENT)
}

/// The bytes that a record's event is in: before it there are only the chain's members and the
/// relay's name.
const HEAD: usize = 512;
/// The bytes that are read at most, before compression.
const MOST: u64 = 256 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::fs;

    use callhome_trail::{Chain, ListedDestination, TextPart};
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    fn inventory(destinations: usize) -> Inventory {
        let destination = |n: usize| ListedDestination {
            name: n.to_string().into(),
            hosts: Vec::new(),
            purpose: "other".into(),
            versions: None,
            upload_min_bytes: 1024,
        };
        Inventory {
            clients: Vec::new(),
            destinations: (0..destinations).map(destination).collect(),
        }
    }

    /// Writes a segment for each of the parts.
    fn segments(directory: &Path, chain: &mut Chain, parts: &[TextPart]) {
        for part in parts {
            let path = directory.join(format!("access-{:012}.jsonl", chain.next()));
            let members = json!({"relay": "r", "event": "inventory", "data": part}).to_string();
            let members = members.as_bytes();
            let mut line = Vec::new();
            let members = &members[1..members.len() - 1];
            chain.append(Timestamp::UNIX_EPOCH, members, &mut line);
            fs::write(path, line).unwrap();
        }
    }

    #[test]
    fn an_inventory_that_is_larger_than_a_segment_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let mut chain = Chain::new("t".into());
        assert_eq!(newest(directory.path()).unwrap(), None);
        let parts =
            |destinations| TextPart::of(&serde_json::to_string(&inventory(destinations)).unwrap());
        let (old, new) = (parts(100), parts(200));
        assert!(old.len() > 1 && new.len() > 2);
        segments(directory.path(), &mut chain, &old);
        assert_eq!(newest(directory.path()).unwrap(), Some(inventory(100)));
        // A crash cut the newer one off, so it doesn't count yet.
        segments(directory.path(), &mut chain, &new[..1]);
        assert_eq!(newest(directory.path()).unwrap(), Some(inventory(100)));
        segments(directory.path(), &mut chain, &new[1..]);
        assert_eq!(newest(directory.path()).unwrap(), Some(inventory(200)));
    }
}

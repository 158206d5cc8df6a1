//! The inventory in the trail: at a start, at the head of each segment, and what a start finds of
//! it.

use callhome_trail::{Event, ExpectedClient, Inventory, InventoryParts, Record};
use jiff::Timestamp;

use super::*;

fn inventory(clients: usize, since: i64) -> Inventory {
    let client = |n: usize| ExpectedClient {
        name: format!("zvm-{n}").into(),
        formerly: Vec::new(),
        role: Some("zvm".into()),
        version: None,
        since: Timestamp::from_second(since).unwrap(),
        sources: vec![format!("10.0.0.{n}/32").into()],
        certificate_names: Vec::new(),
        expect_every: None,
        calls_home: true,
    };
    Inventory {
        clients: (0..clients).map(client).collect(),
        destinations: Vec::new(),
    }
}

fn records(file: &Path) -> Vec<Record> {
    let mut reader = Reader::open(file).unwrap();
    let mut records = Vec::new();
    while let Some(line) = reader.next_line().unwrap() {
        records.push(Record::of(&Line::parse(line.bytes).unwrap()).unwrap());
    }
    records
}

fn inventories(directory: &Path) -> Vec<Inventory> {
    let mut parts = InventoryParts::default();
    let all = records(directory);
    all.iter().filter_map(|it| parts.take(it)).collect()
}

#[test]
fn a_start_goes_on_from_the_newest_whole_inventory() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path());
    for since in [1, 2, 3] {
        let (audit, writer) = start(&options);
        // A removal in between, so that the last client is new in the third run.
        let clients = if since == 2 { 99 } else { 100 };
        audit.record_inventory(inventory(clients, since));
        writer.close();
    }
    let all = inventories(directory.path());
    assert_eq!(all.len(), 3, "each start writes it");
    let since = |at: usize, client: usize| all[at].clients[client].since.as_second();
    assert_eq!((since(0, 0), since(0, 99)), (1, 1));
    assert_eq!((since(1, 0), since(2, 0), since(2, 99)), (1, 1, 3));
    whole(directory.path());
}

#[test]
fn every_segment_begins_with_the_inventory() {
    let directory = tempfile::tempdir().unwrap();
    let options = AuditOptions {
        rotate_size: 300_000,
        ..options(directory.path())
    };
    let (audit, writer) = start(&options);
    audit.record_inventory(inventory(50, 1));
    let mut segments = Vec::new();
    let start = Instant::now();
    while segments.len() < 4 {
        (0..200).for_each(|_| tunnel(&audit));
        segments = segments::list(directory.path()).unwrap();
        assert!(start.elapsed() < Duration::from_mins(1), "no rotation");
    }
    writer.close();
    for segment in &segments[1..] {
        let records = records(&segment.current_path());
        let heads = records.iter().take_while(|it| it.event == Event::Inventory);
        let mut parts = InventoryParts::default();
        let whole: Vec<_> = heads.filter_map(|it| parts.take(it)).collect();
        assert_eq!(whole, [inventory(50, 1)], "{}", segment.path.display());
    }
    whole(directory.path());
}

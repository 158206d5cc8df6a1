//! Edits of every kind at places that look random. Each is found at the first record that isn't as
//! it was written.

use std::fs;
use std::path::Path;

use callhome_relay::audit::generate;
use callhome_trail::Hash;
use callhome_trail::verify::{Evidence, VerifyError, verify};

use super::edits::{Numbers, Trail, is_compressed, put};

#[test]
fn edits_are_found_where_they_are() {
    tamper(RECORDS, 100, Numbers(0x9e37_79b9_7f4a_7c15));
}

#[test]
#[ignore = "the same a thousand times in more records: a minute and a half without optimisation"]
fn a_thousand_edits_are_found_where_they_are() {
    tamper(10_000, 1000, Numbers(0xd1b5_4a32_d192_ed03));
}

fn tamper(records: usize, edits: usize, mut numbers: Numbers) {
    let directory = tempfile::tempdir().unwrap();
    let trail = Trail::write(directory.path(), records);
    let compressed = trail
        .segments
        .iter()
        .filter(|it| is_compressed(Path::new(&it.0)));
    assert!(compressed.count() >= 3, "both kinds of segments");
    trail.restore(0..trail.segments.len());
    verify(&trail.copy, &Evidence::default(), |_| ()).unwrap();

    for edit in 0..edits {
        let (what, touched, expected) = trail.edit(edit, &mut numbers);
        let broken = match verify(&trail.copy, &Evidence::default(), |_| ()) {
            Err(VerifyError::Broken(broken)) => broken,
            other => panic!("edit {edit}, {what}: {other:?}"),
        };
        trail.assert_place(&broken, &expected, &format!("edit {edit}, {what}"));
        trail.restore([touched]);
    }
    verify(&trail.copy, &Evidence::default(), |_| ()).unwrap();
}

/// The names of segments are for people. Their content tells where they belong, so renaming changes
/// no record.
#[test]
fn names_prove_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let trail = Trail::write(directory.path(), RECORDS);
    trail.restore(0..trail.segments.len());
    let path = |n: usize| trail.copy.join(&trail.segments[n].0);
    fs::rename(path(0), trail.copy.join("aside")).unwrap();
    fs::rename(path(2), path(0)).unwrap();
    fs::rename(trail.copy.join("aside"), path(2)).unwrap();
    let report = verify(&trail.copy, &Evidence::default(), |_| ()).unwrap();
    assert_eq!((report.records, report.duplicates), (trail.records, 0));
}

/// An attacker changes a record, computes every later hash anew and removes the other evidence. As
/// documented, the chain doesn't notice, but seals and witness do.
#[test]
fn a_chain_that_was_computed_anew_is_for_seals_and_witness() {
    let directory = tempfile::tempdir().unwrap();
    let original = directory.path().join("original");
    let key = generate(&original).unwrap();
    let trail = Trail::write(directory.path(), RECORDS);
    let witness = directory.path().join("witness");
    let all: Vec<u8> = trail.segments.iter().flat_map(|it| it.1.concat()).collect();
    fs::write(&witness, all).unwrap();
    verify(
        &original,
        &Evidence {
            key: Some(key.clone()),
            witness: Some(&witness),
            ..Evidence::default()
        },
        |_| (),
    )
    .unwrap();

    let mut previous = Hash::GENESIS;
    let mut whole = Vec::new();
    for (name, lines) in &trail.segments {
        let mut forged = Vec::new();
        for line in lines {
            let text = std::str::from_utf8(line).unwrap();
            let text = text.replace("\"tunnels_cut\":1234,", "\"tunnels_cut\":0,");
            let text = text.replace("\"tunnels_cut\":1234}", "\"tunnels_cut\":0}");
            let prev = text.rfind(",\"prev\":\"").unwrap() + 9;
            let hash = text.find(",\"hash\":\"").unwrap();
            let hashed = [&text[..prev], previous.as_str(), &text[prev + 64..hash]].concat();
            previous = Hash::of(hashed.as_bytes());
            forged.extend(format!("{hashed},\"hash\":\"{previous}\"}}\n").bytes());
        }
        put(&trail.copy.join(name), &forged);
        whole.append(&mut forged);
    }
    let file = directory.path().join("file");
    fs::write(&file, whole).unwrap();
    let report = verify(&file, &Evidence::default(), |_| ()).unwrap();
    assert_eq!((report.records, report.gaps.len()), (trail.records, 0));
    let broken = |key, witness| match verify(
        &trail.copy,
        &Evidence {
            key,
            witness,
            ..Evidence::default()
        },
        |_| (),
    ) {
        Err(VerifyError::Broken(broken)) => broken.to_string(),
        other => panic!("{other:?}"),
    };
    let by_seal = broken(Some(key), None);
    assert!(by_seal.contains("signature"), "{by_seal}");
    let by_witness = broken(None, Some(witness.as_path()));
    assert!(
        by_witness.contains("the witness kept another"),
        "{by_witness}"
    );
    // The relay's own copy of the seals is enough if it is still there, even without the key.
    fs::copy(original.join("seals.jsonl"), trail.copy.join("seals.jsonl")).unwrap();
    let by_kept = broken(None, None);
    assert!(by_kept.contains("seals.jsonl kept another"), "{by_kept}");
}

/// Enough for segments of several hundred records. Verifying all of them after each edit takes the
/// time.
const RECORDS: usize = 2_000;

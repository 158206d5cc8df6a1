//! `audit verify` and `audit keygen` as an auditor runs them.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use callhome_relay::audit::{Audit, generate};
use callhome_trail::{Data, RelayStopped};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::process::relay;
use crate::support::trail::options;

/// Writes a trail into `audit` of a new directory: this many records, and a checkpoint at each end.
fn trail(records: usize) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    write(&path, records, 64 << 20);
    (directory, path)
}

fn write(directory: &Path, records: usize, rotate_size: u64) {
    let options = options(directory, rotate_size);
    let (audit, writer) = Audit::start(&options, "test", Arc::default()).unwrap();
    for n in 0..records {
        let data = RelayStopped {
            cause: "test".into(),
            tunnels_cut: n,
        };
        audit.relay_event(Data::RelayStopped(data));
    }
    writer.close();
}

fn verify(trail: &Path, arguments: &[&str]) -> Output {
    audit("verify").arg(trail).args(arguments).output().unwrap()
}

fn audit(command: &str) -> Command {
    let mut relay = relay();
    relay.args(["audit", command]);
    relay
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn lines(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    text.split_inclusive('\n').map(str::to_owned).collect()
}

/// Cuts the last records off and restarts, which declares them missing.
fn cut(trail: &Path) {
    let file = trail.join("access.jsonl");
    let kept = lines(&file);
    fs::write(&file, kept[..kept.len() - 3].concat()).unwrap();
    write(trail, 1, 64 << 20);
}

#[test]
fn a_whole_trail_is_fine() {
    let (_directory, trail) = trail(5);
    let output = verify(&trail, &[]);
    assert_eq!(code(&output), 0, "{output:?}");
    let text = text(&output);
    assert!(text.starts_with("whole    7 records\n"), "{text}");
    assert!(text.contains("records  1 to 7\n"), "{text}");
    assert!(text.contains("sealed   not checked"), "{text}");
    assert!(!text.contains('\x1b'), "no colour where nobody looks");

    let json = json(&verify(&trail, &["--json"]));
    assert_eq!(json["verdict"], "whole");
    assert_eq!(json["report"]["records"], 7);
}

#[test]
fn gaps_are_listed_and_can_be_accepted() {
    let (_directory, trail) = trail(5);
    cut(&trail);
    let output = verify(&trail, &[]);
    assert_eq!(code(&output), 1);
    let text = text(&output);
    assert!(text.starts_with("gaps "), "{text}");
    assert!(text.contains("gap      records 5 to 7, told at "), "{text}");
    assert_eq!(code(&verify(&trail, &["--accept-gaps"])), 0);
    let json = json(&verify(&trail, &["--json"]));
    assert_eq!(json["verdict"], "gaps");
    assert_eq!(json["report"]["gaps"][0]["from"], 5);
}

#[test]
fn a_broken_trail_is_broken_whatever_is_accepted() {
    let (_directory, trail) = trail(5);
    let file = trail.join("access.jsonl");
    let changed = fs::read_to_string(&file)
        .unwrap()
        .replace("\"tunnels_cut\":2", "\"tunnels_cut\":3");
    fs::write(&file, changed).unwrap();
    for arguments in [&[][..], &["--accept-gaps"]] {
        let output = verify(&trail, arguments);
        assert_eq!(code(&output), 1);
        let text = text(&output);
        let place = format!("broken   {}:4: ", file.display());
        assert!(text.starts_with(&place), "{text}");
    }
    let json = json(&verify(&trail, &["--json"]));
    assert_eq!(json["verdict"], "broken");
    assert_eq!(json["line"], 4);
    assert_eq!(json["file"], file.to_str().unwrap());
}

#[test]
fn the_key_proves_the_seals() {
    let directory = tempfile::tempdir().unwrap();
    let key = generate(directory.path()).unwrap();
    write(directory.path(), 3, 64 << 20);
    let output = verify(directory.path(), &["--key", key.as_str()]);
    assert_eq!(code(&output), 0, "{output:?}");
    let text = text(&output);
    assert!(
        text.contains("sealed   2 checkpoints, up to the last record"),
        "{text}"
    );
    let other = generate(&directory.path().join("other")).unwrap();
    let output = verify(directory.path(), &["--key", other.as_str()]);
    assert_eq!(code(&output), 1);
    let output = verify(directory.path(), &["--key", "abc"]);
    assert_eq!(code(&output), 2, "not a key");
}

#[test]
fn a_witness_has_the_same_records() {
    let (directory, trail) = trail(5);
    let witness = directory.path().join("witness.log");
    let kept: Vec<_> = lines(&trail.join("access.jsonl"))
        .into_iter()
        .skip(2)
        .map(|line| format!("Nov 24 14:03:07 dmz-1 callhome-relay: {line}"))
        .collect();
    // A part of the witness's copy proves the records that it has. Foreign lines and one that is
    // cut are skipped.
    let partial = ["something else\n", &kept[0], &kept[2], &kept[3][..80]].concat();
    fs::write(&witness, partial).unwrap();
    let arguments = ["--witness", witness.to_str().unwrap()];
    let output = verify(&trail, &arguments);
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(text(&output).contains("witness  2 records are the same"));

    // A log server keeps the records of several relays in one file.
    let (_other_directory, other) = self::trail(5);
    let others = lines(&other.join("access.jsonl"));
    fs::write(&witness, [others.concat(), kept.concat()].concat()).unwrap();
    let output = verify(&trail, &arguments);
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(text(&output).contains("witness  5 records are the same"));
    fs::write(&witness, others.concat()).unwrap();
    let output = verify(&trail, &arguments);
    assert_eq!(code(&output), 1, "another trail is no witness");
    assert!(text(&output).contains("none of the trail's records"));

    fs::write(&witness, kept.concat()).unwrap();
    cut(&trail);
    let output = verify(&trail, &[&arguments[..], &["--accept-gaps"]].concat());
    assert_eq!(code(&output), 1);
    assert!(text(&output).contains("the witness"), "{output:?}");

    // The witness has both the records that were cut off and those that replaced them.
    let now = lines(&trail.join("access.jsonl"));
    fs::remove_file(trail.join("head.json")).unwrap();
    fs::remove_file(trail.join("seals.jsonl")).unwrap();
    fs::write(trail.join("access.jsonl"), now[..4].concat()).unwrap();
    write(&trail, 5, 64 << 20);
    fs::write(
        &witness,
        [kept.concat(), lines(&trail.join("access.jsonl")).concat()].concat(),
    )
    .unwrap();
    assert_eq!(code(&verify(&trail, &[])), 1, "the key tells");
    let output = verify(&trail, &[&arguments[..], &["--accept-gaps"]].concat());
    assert_eq!(code(&output), 1);
    assert!(
        text(&output).contains("two records under this number"),
        "{output:?}"
    );

    fs::write(&witness, "nothing of use\n").unwrap();
    let output = verify(&trail, &arguments);
    assert_ne!(
        code(&output),
        0,
        "a witness that saw nothing proves nothing"
    );
}

#[test]
fn standard_input_and_single_files_are_trails_too() {
    let (_directory, trail) = trail(5);
    let file = trail.join("access.jsonl");
    let from_stdin = |bytes: &[u8]| {
        let mut child = audit("verify")
            .arg("-")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // The command stops reading at the first bad line.
        let _ = stdin.write_all(bytes);
        drop(stdin);
        child.wait_with_output().unwrap()
    };
    let bytes = fs::read(&file).unwrap();
    assert_eq!(code(&from_stdin(&bytes)), 0);
    assert_eq!(code(&verify(&file, &[])), 0);

    let compressed = trail.join("copy.jsonl.zst");
    fs::write(&compressed, zstd::encode_all(&*bytes, 3).unwrap()).unwrap();
    assert_eq!(code(&verify(&compressed, &[])), 0);

    // An editor's change to one value.
    let records = String::from_utf8(bytes.clone()).unwrap();
    let changed = records.replace("\"tunnels_cut\":4", "\"tunnels_cut\":0");
    assert_ne!(changed, records);
    let output = from_stdin(changed.as_bytes());
    assert_eq!(code(&output), 1);
    let text = text(&output);
    assert!(text.starts_with("broken   standard input:6: "), "{text}");
    assert_eq!(code(&from_stdin(b"")), 1);
    assert_eq!(code(&from_stdin(&vec![b'x'; 1 << 20])), 1);
}

#[test]
fn what_a_trail_says_is_harmless_to_a_terminal() {
    let (_directory, trail) = trail(1);
    cut(&trail);
    let file = trail.join("access.jsonl");
    let odd = trail.join("access-\x1b[2J.jsonl");
    fs::rename(&file, &odd).unwrap();
    fs::write(&file, "{}\n").unwrap();
    let output = verify(&trail, &[]);
    assert_eq!(code(&output), 1);
    assert!(!output.stdout.contains(&0x1b), "{output:?}");
}

#[test]
fn keygen_makes_a_key_once() {
    let directory = tempfile::tempdir().unwrap();
    let trail = directory.path().join("audit");
    let keygen = || audit("keygen").arg(&trail).output().unwrap();
    let output = keygen();
    assert_eq!(code(&output), 0, "{output:?}");
    let key = text(&output);
    let key = key.strip_suffix('\n').unwrap();
    assert!(key.len() == 64 && key.bytes().all(|b| b.is_ascii_hexdigit()));
    let secret = fs::read(trail.join("seal.key")).unwrap();
    let again = keygen();
    assert_ne!(code(&again), 0);
    assert!(again.stdout.is_empty());
    assert_eq!(fs::read(trail.join("seal.key")).unwrap(), secret);
    // The relay uses the key.
    write(&trail, 1, 64 << 20);
    assert_eq!(code(&verify(&trail, &["--key", key])), 0);
}

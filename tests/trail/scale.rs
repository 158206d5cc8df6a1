//! `audit verify` on trails of hundreds of thousands of records takes no more memory than on small
//! ones, also with a witness.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::Stdio;

use callhome_trail::Chain;
use callhome_trail::verify::Evidence;
use jiff::Timestamp;

use super::edits::Numbers;
use super::forger::{broken, whole};
use crate::support::process::relay;

/// Writes a trail of small records as one file.
fn write(path: &Path, trail: &str, records: u64) {
    let mut chain = Chain::new(trail.into());
    let mut out = BufWriter::new(File::create(path).unwrap());
    let mut line = Vec::new();
    for n in 0..records {
        line.clear();
        let members = format!(
            "\"relay\":\"test\",\"event\":\"relay_stopped\",\"data\":{{\"cause\":\"test\",\"tunnels_cut\":{n}}}"
        );
        chain.append(Timestamp::UNIX_EPOCH, members.as_bytes(), &mut line);
        out.write_all(&line).unwrap();
    }
}

/// Writes the lines of several files into one, with `order` between them.
fn mix(files: &[&Path], to: &Path, order: impl FnOnce(&mut Vec<String>)) {
    let mut lines: Vec<String> = Vec::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        lines.extend(text.split_inclusive('\n').map(str::to_owned));
    }
    order(&mut lines);
    fs::write(to, lines.concat()).unwrap();
}

/// The most memory that `audit verify` had, in MiB, on a trail that it must find whole.
fn memory(trail: &Path, witness: &Path) -> u64 {
    let mut child = relay()
        .args(["audit", "verify", "--witness"])
        .arg(witness)
        .arg(trail)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    loop {
        // The file has no sizes any more once the process has ended.
        let text = fs::read_to_string(&status).unwrap_or_default();
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|it| it.trim().strip_suffix(" kB")?.parse().ok());
        most = most.max(peak.unwrap_or(0) / 1024);
        if let Some(code) = child.try_wait().unwrap() {
            assert!(code.success());
            return most;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

#[test]
fn a_witness_ten_times_as_long_takes_no_more_memory() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let grown = |order: &dyn Fn(&mut Vec<String>)| {
        [30_000, 300_000].map(|records| {
            let (trail, other, witness) = (file("trail"), file("other"), file("witness"));
            write(&trail, "t-1", records);
            write(&other, "t-2", records);
            mix(&[&trail, &other], &witness, order);
            memory(&trail, &witness)
        })
    };
    // Two trails line by line, and every third line sent again later.
    let [small, large] = grown(&|lines| {
        let (one, other) = lines.split_at(lines.len() / 2);
        let mut mixed: Vec<_> = one
            .iter()
            .zip(other)
            .flat_map(|(one, other)| [one.clone(), other.clone()])
            .collect();
        let again: Vec<_> = mixed.iter().step_by(3).cloned().collect();
        mixed.extend(again);
        *lines = mixed;
    });
    assert!(small > 0);
    assert!(large < small + 20, "{small} MiB, then {large} MiB");
}

/// More than one stretch of numbers.
const RECORDS: u64 = 70_000;

/// In whatever order a witness has its records, they are compared, and what it has more is missed.
#[test]
fn a_witness_in_any_order_is_compared_to_its_last_record() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let (trail, other, witness) = (file("trail"), file("other"), file("witness"));
    write(&trail, "t-1", RECORDS);
    write(&other, "t-2", 1000);
    let shuffled = |lines: &mut Vec<String>| {
        let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
        for at in (1..lines.len()).rev() {
            lines.swap(at, numbers.below(at + 1));
        }
    };
    let again = |lines: &mut Vec<String>| {
        let sent: Vec<_> = lines.iter().step_by(7).cloned().collect();
        lines.extend(sent);
        shuffled(lines);
    };
    mix(&[&trail, &other], &witness, again);
    let evidence = Evidence {
        witness: Some(&witness),
        ..Evidence::default()
    };
    assert_eq!(whole(&trail, &evidence).witnessed, Some(RECORDS));

    // One record of the witness is another one, at a place that no order shows.
    let forged = file("forged");
    let mut lines: Vec<_> = fs::read_to_string(&trail)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    lines.truncate(69_000);
    let short = file("short");
    fs::write(&short, lines.join("\n") + "\n").unwrap();
    let why = broken(&short, &evidence);
    assert!(why.contains("the witness has record 69001"), "{why}");
    write(&forged, "t-1", 100);
    let line = fs::read_to_string(&forged).unwrap();
    assert!(line.starts_with(&lines[0]), "the same chain");
    let mut other_end = Chain::resume("t-1".into(), 65_536, callhome_trail::Hash::GENESIS);
    let mut line = Vec::new();
    other_end.append(
        Timestamp::UNIX_EPOCH,
        b"\"relay\":\"x\",\"event\":\"relay_stopped\",\"data\":null",
        &mut line,
    );
    let mut bytes = fs::read(&witness).unwrap();
    bytes.splice(0..0, line);
    fs::write(&witness, bytes).unwrap();
    let why = broken(&trail, &evidence);
    assert!(
        why.contains("record 65536: the witness kept two records"),
        "{why}"
    );
}

//! `audit report`: a month in figures, and how far they can be relied on.

use std::path::Path;

use calamine::{Data, Reader as _, Xlsx};
use serde_json::{Value, json};

use crate::support::trail::{Trail, audit, event, options, printed, session, start};

/// Makes three days of two machines, with a gap and a step of the clock.
fn november() -> Trail {
    let mut trail = Trail::new();
    // An older relay doesn't judge uploads.
    let tunnel = |time| {
        let mut tunnel = session("tunnel_closed", time, None);
        tunnel["duration_ms"] = 0.into();
        tunnel
    };
    trail.push(tunnel("2026-11-01T08:00:00Z"));
    trail.push(tunnel("2026-11-03T09:30:15Z"));
    let mut denied = session(
        "request_denied",
        "2026-11-03T10:00:00Z",
        Some("port_not_allowed"),
    );
    denied["client"]["name"] = Value::Null;
    denied["client"]["address"] = "10.30.0.5".into();
    trail.push(denied);
    let mut gap = event("audit_gap", "2026-11-03T11:00:00Z");
    gap["data"] = json!({"from": null, "to": null, "count": 3, "cause": "the disk was full"});
    trail.push(gap);
    let mut step = event("clock_stepped", "2026-11-03T12:00:00Z");
    step["data"] = json!({"seconds": -3600.5});
    trail.push(step);
    trail.push(tunnel("2026-12-01T08:00:00Z"));
    trail
}

fn report(file: &Path, more: &[&str]) -> String {
    printed(
        [
            &["report", "--month", "2026-11", file.to_str().unwrap()],
            more,
        ]
        .concat(),
    )
}

#[test]
fn the_table_says_what_it_rests_on() {
    let trail = november();
    let file = trail.file();
    let text = report(&file, &[]);
    for part in [
        "2026-11, UTC: a relay ran on 30 of its 30 days",
        "  gaps\n",
        "t-1  of dmz-1",
        "records   5 (1 to 5, 2026-11-01 08:00:00Z to 2026-11-03 12:00:00Z) in the month",
        "          6 (1 to 6, 2026-11-01 08:00:00Z to 2026-12-01 08:00:00Z) in all",
        "ran       on 30 days of the month, 710 hours",
        "seals     not checked: --key takes the first public key",
        "gap       3 requests without a record, told at 2026-11-03 11:00:00Z: the disk was full",
        "clock     set by -3600.5 s at 2026-11-03 12:00:00Z",
        "unjudged  2 of the uploads",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let row = |client: &str| {
        let line = text.lines().find(|line| line.starts_with(client)).unwrap();
        line.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        row("zvm-1"),
        "zvm-1 billing 2 2 10.0 KiB 4.3 KiB 2026-11-01 08:00:00Z 2026-11-03 09:30:15Z 28 (27 in a row) 2 unjudged"
    );
    assert!(
        row("10.30.0.5").ends_with("denied: port_not_allowed=1"),
        "{text}"
    );
}

#[test]
fn csv_has_the_same_figures() {
    let trail = november();
    let text = report(&trail.file(), &["--csv"]);
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().unwrap().clone();
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 2);
    let cell = |row: usize, name: &str| {
        let column = header.iter().position(|column| column == name).unwrap();
        rows[row][column].to_owned()
    };
    assert_eq!(cell(0, "client"), "zvm-1");
    assert_eq!(cell(0, "bytes_up"), "10246");
    assert_eq!(cell(0, "last_upload"), "2026-11-03T09:30:15Z");
    assert_eq!(cell(0, "days_without_upload"), "28");
    assert_eq!(cell(0, "trails"), "gaps");
    assert_eq!(cell(0, "seals"), "not_checked");
    assert_eq!(cell(0, "unjudged"), "2");
    assert_eq!(
        cell(0, "last_upload_by_address"),
        "10.20.0.11=2026-11-03T09:30:15Z"
    );
    assert_eq!(cell(1, "refusals_by_reason"), "port_not_allowed=1");
}

#[test]
fn the_workbook_has_real_dates_and_numbers() {
    let trail = november();
    let path = trail.beside("november.xlsx");
    report(&trail.file(), &["--xlsx", path.to_str().unwrap()]);
    let mut workbook: Xlsx<_> = calamine::open_workbook(&path).unwrap();
    // An address that was only refused appears in the summary alone.
    assert_eq!(
        workbook.sheet_names(),
        [
            "Summary",
            "Trails",
            "Addresses",
            "Unserved",
            "Legend",
            "zvm-1"
        ]
    );

    let rows = |workbook: &mut Xlsx<_>, sheet: &str| -> Vec<Vec<Data>> {
        let range = workbook.worksheet_range(sheet).unwrap();
        range.rows().map(<[Data]>::to_vec).collect()
    };
    let text = |text: &str| Data::String(text.to_owned());
    let summary = rows(&mut workbook, "Summary");
    let head = summary
        .iter()
        .position(|row| row[0] == text("Client"))
        .unwrap();
    let column = |name: &str| {
        summary[head]
            .iter()
            .position(|cell| *cell == text(name))
            .unwrap()
    };
    let zvm = summary.iter().find(|row| row[0] == text("zvm-1")).unwrap();
    assert_eq!(zvm[column("Bytes up")], Data::Float(10246.0));
    assert_eq!(zvm[column("Days without upload")], Data::Float(28.0));
    let Data::DateTime(last) = &zvm[column("Last upload")] else {
        panic!("{zvm:?}");
    };
    assert_eq!(last.to_ymd_hms_milli(), (2026, 11, 3, 9, 30, 15, 0));
    let total = summary.iter().find(|row| row[0] == text("Total")).unwrap();
    assert_eq!(total[column("Bytes up")], Data::Float(10246.0));
    assert_eq!(total[column("Denied")], Data::Float(1.0));
    let sums = workbook.worksheet_formula("Summary").unwrap();
    assert!(
        sums.used_cells()
            .any(|(_, _, sum)| sum.starts_with("SUBTOTAL(109,H")),
        "{sums:?}"
    );
    let seals = &summary.iter().flatten().map(ToString::to_string);
    assert!(
        seals
            .clone()
            .any(|line| line == "The record is whole but for 1 declared gaps. Seals: not checked."),
        "{summary:?}"
    );

    let trails = rows(&mut workbook, "Trails");
    let flags: Vec<_> = trails.iter().map(|row| &row[1]).collect();
    assert!(
        flags.contains(&&text("gap")) && flags.contains(&&text("clock")),
        "{trails:?}"
    );

    let client = rows(&mut workbook, "zvm-1");
    let days = client.iter().position(|row| row[0] == text("Day")).unwrap() + 1;
    let total = client.last().unwrap();
    assert_eq!(total[2], Data::Float(2.0));
    let days = &client[days..client.len() - 1];
    assert_eq!(days.len(), 30, "every day of the month");
    let Data::DateTime(second) = &days[1][0] else {
        panic!("{days:?}");
    };
    assert_eq!(second.to_ymd_hms_milli(), (2026, 11, 2, 0, 0, 0, 0));
    assert_eq!(
        (&days[1][2], &days[1][5]),
        (&Data::Float(0.0), &text("no upload"))
    );
    assert_eq!(days[2][3], Data::Float(5123.0));
}

/// `LibreOffice` shows `###` for a time that is wider than its column.
#[test]
fn the_workbook_is_ready_to_be_read_and_printed() {
    let trail = november();
    let path = trail.beside("november.xlsx");
    report(&trail.file(), &["--xlsx", path.to_str().unwrap()]);
    let mut archive = zip::ZipArchive::new(std::fs::File::open(&path).unwrap()).unwrap();
    let mut part = |name: &str| {
        let mut text = String::new();
        let mut file = archive.by_name(name).unwrap();
        std::io::Read::read_to_string(&mut file, &mut text).unwrap();
        text
    };
    // The sheets with a table of clients, of trails, of addresses, of refusals, and of days.
    for (number, times) in [(1, "JK"), (2, "KL"), (3, "GH"), (4, ""), (6, "A")] {
        let sheet = part(&format!("xl/worksheets/sheet{number}.xml"));
        for setting in [
            "state=\"frozen\"",
            "<autoFilter ref=\"A",
            "<pageSetUpPr fitToPage=\"1\"/>",
            "fitToHeight=\"0\"",
            "&amp;P / &amp;N",
        ] {
            assert!(sheet.contains(setting), "{number}: {setting}: {sheet}");
        }
        let is_upright = number == 6;
        assert_eq!(
            sheet.contains("orientation=\"landscape\""),
            !is_upright,
            "{sheet}"
        );
        // A date has 10 characters, a time 19.
        let longest = if number == 6 { 10.0 } else { 19.0 };
        for column in times.bytes().map(|letter| letter - b'A' + 1) {
            let width = width_of(&sheet, column.into());
            assert!(width > longest, "{number}: {column}: {width}");
        }
    }
    let names = part("xl/workbook.xml");
    assert_eq!(names.matches("_xlnm.Print_Titles").count(), 6, "{names}");
    let styles = part("xl/styles.xml");
    assert!(styles.contains("formatCode=\"#,##0\""), "{styles}");
}

/// Returns the width of a column, in characters.
fn width_of(sheet: &str, column: u32) -> f64 {
    let attribute = |col: &str, name: &str| -> f64 {
        let (_, rest) = col.split_once(&format!(" {name}=\"")).unwrap();
        let rest = rest.trim_start_matches(' ');
        rest.split('"').next().unwrap().parse().unwrap()
    };
    let columns = sheet.split("<col ").skip(1).map(|col| format!(" {col}"));
    let found = columns
        .filter(|col| {
            let range = attribute(col, "min")..=attribute(col, "max");
            range.contains(&f64::from(column))
        })
        .map(|col| attribute(&col, "width"))
        .next();
    found.unwrap_or_else(|| panic!("column {column} has no width: {sheet}"))
}

/// Makes the trail of a relay that the relay's own writer seals, and returns its first public key.
fn sealed(directory: &Path) -> String {
    let key = printed(["keygen", directory.to_str().unwrap()]);
    let (audit, writer) = start(&options(directory, 1 << 20));
    drop(audit);
    writer.close();
    key.split_whitespace().last().unwrap().to_owned()
}

#[test]
fn seals_are_checked_with_a_key() {
    let directory = tempfile::tempdir().unwrap();
    let key = sealed(&directory.path().join("one"));
    let other = sealed(&directory.path().join("two"));
    let (one, two) = (directory.path().join("one"), directory.path().join("two"));
    let (one, two) = (one.to_str().unwrap(), two.to_str().unwrap());
    let report = |keys: &[&str], code: i32| {
        let mut args = vec!["report", "--month", "2026-11", "--json", one, two];
        for key in keys {
            args.extend(["--key", key]);
        }
        let output = audit(args);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default()
    };
    let right = report(&[&key, &other], 0);
    for trail in right["trails"].as_array().unwrap() {
        assert_eq!(trail["seals"], "valid");
        assert_eq!(trail["sealed_to"], trail["all"]["to"]);
    }
    let swapped = report(&[&other, &key], 1);
    assert_eq!(swapped["trails"][0]["seals"], "broken");
    assert_eq!(swapped["trails"][0]["verdict"], "broken");
    assert_eq!(report(&[], 0)["trails"][0]["seals"], "not_checked");
    report(&[&key], 2);

    let args = ["report", "--month", "2026-11", one, "--key", &key];
    let text = printed(args);
    assert!(
        text.contains("seals     valid up to the last record"),
        "{text}"
    );
}

#[test]
fn a_broken_trail_is_summed_up_and_said_to_be_broken() {
    let trail = november();
    let file = trail.file();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("5123", "9999", 1)).unwrap();
    let args = [
        "report",
        "--month",
        "2026-11",
        "--json",
        file.to_str().unwrap(),
    ];
    let output = audit(args);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let told = &report["trails"][0];
    assert_eq!(told["verdict"], "broken");
    assert!(
        told["broken"]
            .as_str()
            .unwrap()
            .contains("access.jsonl:1: it was changed")
    );
    assert_eq!(told["unread"], 1);
    // The changed record is left out, and the others are counted.
    assert_eq!(report["rows"][0]["tunnels"], 1);
    assert_eq!(report["rows"][0]["bytes_up"], 5123);
}

#[test]
fn a_damaged_segment_costs_its_own_records() {
    let trail = november();
    let text = std::fs::read_to_string(trail.file()).unwrap();
    let directory = trail.beside("segments");
    std::fs::create_dir(&directory).unwrap();
    for (n, line) in text.split_inclusive('\n').enumerate() {
        let mut bytes = zstd::encode_all(line.as_bytes(), 3).unwrap();
        if n == 1 {
            bytes.truncate(bytes.len() - 5);
        }
        let name = format!("access-{:012}.jsonl.zst", n + 1);
        std::fs::write(directory.join(name), bytes).unwrap();
    }
    let directory = directory.to_str().unwrap();
    let output = audit(["report", "--month", "2026-11", "--json", directory]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let told = &report["trails"][0];
    assert_eq!(told["verdict"], "broken");
    let broken = told["broken"].as_str().unwrap();
    assert!(broken.contains("access-000000000002.jsonl.zst"), "{broken}");
    assert_eq!(told["all"]["records"], 5);
    assert_eq!(report["rows"][0]["tunnels"], 1);

    let output = audit(["export", "--format", "squid", directory]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 3);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("access-000000000002.jsonl.zst"), "{error}");
}

#[test]
fn a_trail_counts_once() {
    let trail = november();
    let file = trail.file();
    let file = file.to_str().unwrap();
    let output = audit(["report", "--month", "2026-11", file, file]);
    assert_eq!(output.status.code(), Some(70));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("are one trail")
    );
}

#[test]
fn a_month_is_needed_and_one_format() {
    let trail = november();
    let file = trail.file();
    let file = file.to_str().unwrap();
    for wrong in [
        &["report", file][..],
        &["report", file, "--month", "2026-13"],
        &["report", file, "--month", "2026-11", "--json", "--csv"],
    ] {
        assert_eq!(audit(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

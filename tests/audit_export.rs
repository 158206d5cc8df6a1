//! The trail in other programs' formats: what they contain, and that no text leaves its line, field
//! or cell.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::client;
use crate::support::relay::{Relay, upstream};
use crate::support::tls::TlsServer;
use crate::support::trail::{
    Trail, audit, ecs_schema, export, printed, refusals, segment, session, spoil,
};

#[test]
fn squid_lines_are_squids() {
    let text = export("squid", &Trail::ends().file());
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "1795528987.123    841 10.20.0.11 TCP_TUNNEL/200 2211 CONNECT ch3.zerto.com:443 zvm-1 HIER_DIRECT/20.0.0.1 -",
            "1795528988.000    841 fd00::1 TCP_DENIED/403 0 CONNECT [2001:db8::1]:443 - HIER_NONE/- -",
            "1795528989.000    841 10.20.0.11 TCP_DENIED/200 2211 CONNECT ch3.zerto.com:443 zvm-1 HIER_DIRECT/20.0.0.1 -",
            "1795528990.000    841 10.20.0.11 TCP_TUNNEL/504 0 CONNECT ch3.zerto.com:443 zvm-1 HIER_NONE/- -",
            "1795528991.000    841 10.20.0.11 TCP_TUNNEL_ABORTED/499 0 CONNECT ch3.zerto.com:443 zvm-1 HIER_NONE/- -",
            "1795528992.000    841 10.20.0.11 TCP_DENIED/405 0 NONE http://h/a%20b?*** zvm-1 HIER_NONE/- -",
            "1795528993.000    841 10.20.0.11 TCP_DENIED/408 0 CONNECT error:invalid-request zvm-1 HIER_NONE/- -",
        ]
    );
}

#[test]
fn combined_lines_are_apaches() {
    let text = export("combined", &Trail::ends().file());
    assert_eq!(
        text.lines().next().unwrap(),
        "10.20.0.11 - zvm-1 [24/Nov/2026:14:03:07 +0000] \"CONNECT ch3.zerto.com:443 HTTP/1.1\" 200 2211 \"-\" \"-\""
    );
    assert_eq!(text.lines().count(), 7);
}

#[test]
fn csv_has_a_row_a_session_under_a_stable_header() {
    let text = export("csv", &Trail::ends().file());
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().unwrap().clone();
    assert_eq!(header.len(), 39);
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 7);
    let column = |name| header.iter().position(|column| column == name).unwrap();
    let cell = |row: usize, name| &rows[row][column(name)];
    assert_eq!(cell(0, "time"), "2026-11-24T14:03:07.123456Z");
    assert_eq!(cell(0, "bytes_up"), "5123");
    assert_eq!(cell(0, "tls_versions"), "1.3 1.2");
    assert_eq!(cell(0, "duration_ms"), "841.2");
    assert_eq!(cell(1, "client_name"), "");
    assert_eq!(cell(1, "client_address"), "fd00::1");
    assert_eq!(cell(1, "reason"), "port_not_allowed");
    assert_eq!(cell(4, "outcome"), "abandoned");
}

#[test]
fn refusals_that_were_counted_have_rows_with_their_count() {
    let trail = counted();
    let text = export("csv", &trail.file());
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().unwrap().clone();
    assert_eq!(&header[header.len() - 1], "count");
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    let column = |name| header.iter().position(|column| column == name).unwrap();
    let names = [
        "seq",
        "event",
        "client_address",
        "decision",
        "reason",
        "outcome",
        "count",
    ];
    let columns = names.map(column);
    let shown: Vec<_> = rows
        .iter()
        .map(|row| columns.map(|column| &row[column]))
        .collect();
    assert_eq!(
        shown,
        [
            [
                "1",
                "request_denied",
                "10.20.0.11",
                "deny",
                "rate_limited",
                "refused",
                "1"
            ],
            ["2", "refusals", "10.20.0.11", "", "", "abandoned", "1"],
            [
                "2",
                "refusals",
                "10.20.0.11",
                "",
                "dns_failed",
                "failed",
                "2"
            ],
            [
                "2",
                "refusals",
                "10.20.0.11",
                "deny",
                "rate_limited",
                "refused",
                "40"
            ],
            [
                "3",
                "refusals",
                "fd00::1",
                "deny",
                "port_not_allowed",
                "refused",
                "7"
            ],
        ]
    );
}

#[test]
fn a_format_without_a_place_for_counted_refusals_says_how_many_it_leaves_out() {
    let trail = counted();
    let file = trail.file();
    for (format, note) in [
        (
            "squid",
            "note: 50 requests that the relay counted together in 2 records are left out",
        ),
        (
            "combined",
            "note: 50 requests that the relay counted together in 2 records are left out",
        ),
        ("csv", ""),
        ("ecs", ""),
    ] {
        let output = audit(["export", "--format", format, file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0), "{format}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            error.starts_with(note) && note.is_empty() == error.is_empty(),
            "{format}: {error}"
        );
    }
}

#[test]
fn a_part_of_the_trail_can_be_exported() {
    let trail = Trail::ends();
    let file = trail.file();
    for (filter, count) in [
        (&["--since", "2026-11-24T14:03:09Z"][..], 5),
        (&["--until", "2026-11-24T14:03:09Z"], 2),
        (
            &[
                "--since",
                "2026-11-24T14:03:08Z",
                "--until",
                "2026-11-24T14:03:09Z",
            ],
            1,
        ),
        (&["--client", "zvm-1"], 6),
        (&["--client", "fd00::/8"], 1),
        (&["--decision", "deny"], 4),
        (&["--destination", "other"], 0),
        (&["--session", "0197-1"], 7),
    ] {
        let base = ["export", "--format", "squid", file.to_str().unwrap()];
        let text = printed([&base, filter].concat());
        assert_eq!(text.lines().count(), count, "{filter:?}");
    }
}

/// What lies outside of the span isn't read, as far as the segments' times tell.
#[test]
fn a_span_of_the_trail_is_all_that_an_export_reads() {
    let mut trail = Trail::new();
    for day in 10..20 {
        let time = format!("2026-11-{day}T08:00:00Z");
        trail.push(session("tunnel_closed", &time, None));
    }
    let directory = trail.segments();
    for not_read in [1, 2, 8, 9] {
        spoil(&directory.join(segment(not_read)));
    }
    let span = ["--since", "2026-11-14", "--until", "2026-11-16"];
    let base = ["export", "--format", "csv", directory.to_str().unwrap()];
    assert_eq!(printed([&base[..], &span].concat()).lines().count(), 3);
}

#[test]
fn ecs_documents_are_of_the_schema() {
    let text = export("ecs", &Trail::ends().file());
    let documents: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(documents.len(), 9, "every record");
    let schema = ecs_schema();
    for document in &documents {
        assert!(schema.is_valid(document), "{document:#}");
    }
    let closed = &documents[2];
    assert_eq!(
        closed["event"]["type"],
        json!(["connection", "end", "allowed"])
    );
    assert_eq!(closed["event"]["duration"], 841_200_000);
    assert_eq!(closed["source"]["bytes"], 5123);
    assert_eq!(closed["destination"]["ip"], "20.0.0.1");
    assert_eq!(closed["tls"]["client"]["server_name"], "ch3.zerto.com");
    assert_eq!(
        documents[3]["destination"].get("domain"),
        None,
        "an address is no domain"
    );
    assert_eq!(documents[3]["event"]["outcome"], "failure");
    assert_eq!(documents[0]["event"]["category"], json!(["process"]));

    let mut wrong = closed.clone();
    wrong["event"]["type"] = json!(["creation"]);
    assert!(!schema.is_valid(&wrong), "the schema holds something");
}

#[test]
fn a_line_that_is_no_record_is_told_and_passed_over() {
    let trail = Trail::ends();
    let file = trail.file();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("zvm-1", "zvm-2", 1)).unwrap();
    let output = audit(["export", "--format", "squid", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("access.jsonl:2: it was changed"), "{error}");
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 7);
}

#[test]
fn a_copy_that_syslog_kept_gives_the_same() {
    let trail = Trail::ends();
    let file = trail.file();
    let text = std::fs::read_to_string(&file).unwrap();
    let copy = trail.beside("messages");
    // A log server may receive a record twice, and writes text of its own before each.
    let lines = text.lines().zip(text.lines().skip(1));
    let mut kept: Vec<String> = lines
        .flat_map(|(one, two)| [one, two])
        .map(|line| format!("2026-11-24T14:03:07Z dmz-1 callhome-relay[42] {line}\n"))
        .collect();
    kept.insert(0, kept[0].clone());
    std::fs::write(&copy, kept.concat()).unwrap();
    for format in ["squid", "csv", "ecs"] {
        assert_eq!(export(format, &copy), export(format, &file), "{format}");
    }
    let shown = |path: &Path| printed(["tail", "-n", "100", path.to_str().unwrap()]);
    assert_eq!(shown(&copy), shown(&file));
    let report = |path: &Path| {
        let path = path.to_str().unwrap();
        let report = printed(["report", "--month", "2026-11", "--json", path]);
        serde_json::from_str::<Value>(&report).unwrap()
    };
    assert_eq!(report(&copy)["rows"], report(&file)["rows"]);
    assert_eq!(report(&copy)["trails"][0]["verdict"], "whole");
}

/// Requests that were refused one by one and together: 51 in all.
fn counted() -> Trail {
    let mut trail = Trail::new();
    let time = "2026-11-24T14:00:00Z";
    trail.push(session("request_denied", time, Some("rate_limited")));
    let reasons = json!({"rate_limited": 40, "dns_failed": 2, "abandoned": 1});
    trail.push(refusals(time, "10.20.0.11", &reasons));
    trail.push(refusals(time, "fd00::1", &json!({"port_not_allowed": 7})));
    trail
}

#[tokio::test]
async fn a_tunnel_is_in_the_formats_and_the_report() {
    let server = TlsServer::start(&["billing.example"]).await;
    let port = server.address.port();
    let mut relay = Relay::start(&upstream("billing.example", port)).await;
    let target = format!("billing.example:{port}");
    let stream = client::tunnel(relay.proxy, &target).await.unwrap();
    server
        .upload(stream, "billing.example", &vec![7; 100_000])
        .await
        .unwrap();
    let record = relay.closing(0).await;
    relay.stop().await;

    let directory = relay.trail().parent().unwrap().to_owned();
    let squid = export("squid", &directory);
    assert!(
        squid.contains(&format!(" CONNECT {target} - HIER_DIRECT/127.0.0.1 -")),
        "{squid}"
    );
    let month = &record["time"].as_str().unwrap()[..7];
    let report = printed([
        "report",
        "--json",
        "--month",
        month,
        directory.to_str().unwrap(),
    ]);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["trails"][0]["verdict"], "whole");
    let row = &report["rows"][0];
    assert_eq!(row["client"], "127.0.0.1");
    assert_eq!(row["destination"], "upstream");
    // No upload counts at this destination, so 100,000 bytes up are none.
    assert_eq!((&row["tunnels"], &row["uploads"]), (&json!(1), &json!(0)));
    assert_eq!(row["bytes_up"], record["bytes_up"]);
    assert_eq!(row["days_without_upload"], Value::Null);
    let csv = export("csv", &directory);
    let written = record["time"].as_str().unwrap();
    assert!(csv.contains(&format!("\n{written},")), "{csv}");
}

//! goaccess reads the exported logs.

use serde_json::Value;

use crate::foreign::tools;
use crate::support::trail::{Trail, export};

#[test]
fn goaccess_takes_every_line() {
    for trail in [Trail::ends(), Trail::hostile()] {
        let file = trail.file();
        for (format, options) in [
            (
                "squid",
                &[
                    "--log-format=%x.%^ %~%L %h %^/%s %b %^ %U %e %^",
                    "--datetime-format=%s",
                ][..],
            ),
            ("combined", &["--log-format=COMBINED"]),
        ] {
            let text = export(format, &file);
            let log = trail.beside(&format!("{format}.log"));
            std::fs::write(&log, &text).unwrap();
            let invalid = trail.beside("invalid.log");
            let output = tools::command("goaccess")
                .arg(log)
                .arg(format!("--invalid-requests={}", invalid.display()))
                .args([
                    "--no-global-config",
                    "--no-progress",
                    "--output-format=json",
                ])
                .args(options)
                .output()
                .unwrap();
            let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
                panic!("{error}: {}", String::from_utf8_lossy(&output.stderr))
            });
            let general = &report["general"];
            let lines = text.lines().count();
            let invalid = std::fs::read_to_string(invalid).unwrap_or_default();
            assert_eq!(general["failed_requests"], 0, "{format}: {invalid}");
            assert_eq!(general["valid_requests"], lines, "{format}: {general}");
        }
    }
}

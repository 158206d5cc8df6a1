//! `audit verify`: proves the trail. It is whole, whole but for declared gaps, or broken.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;

use callhome_trail::PublicKey;
use callhome_trail::harmless::{visible, visible_json};
use callhome_trail::verify::{Broken, Evidence, Pin, Verification, VerifyError, verify};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::TrailArg;
use super::clock::span;
use crate::cli::exit::Exit;
use crate::cli::out;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct VerifyArgs {
    #[command(flatten)]
    trail: TrailArg,
    /// The first public key, in hexadecimal: checks the seals
    #[arg(long, value_name = "HEX", value_parser = parse_key)]
    key: Option<PublicKey>,
    /// Records that a console or a syslog server kept: the trail must have the same
    #[arg(long, value_name = "FILE")]
    witness: Option<PathBuf>,
    /// An end that the trail had, as an earlier verify or the relay's log printed it: the trail
    /// must go on from there
    #[arg(long, value_name = "SEQ:HASH[:KEY]")]
    expect: Option<Pin>,
    /// Take gaps that the trail itself declares for fine
    #[arg(long)]
    accept_gaps: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &VerifyArgs) -> anyhow::Result<Exit> {
    let path = args.trail.path()?;
    let bar = progress_bar();
    let evidence = Evidence {
        key: args.key.clone(),
        witness: args.witness.as_deref(),
        pin: args.expect.clone(),
    };
    let result = verify(&path, &evidence, |reader| {
        bar.set_length(reader.size());
        bar.set_position(reader.position());
    });
    bar.finish_and_clear();
    let verdict = match result {
        Ok(report) => Ok(report),
        Err(VerifyError::Broken(broken)) => Err(broken),
        Err(VerifyError::Io(error)) => return Err(error.into()),
    };
    if args.json {
        print_json(&verdict)?;
    } else {
        print(&verdict)?;
    }
    Ok(match verdict {
        Ok(report) if report.gaps.is_empty() || args.accept_gaps => Exit::Fine,
        _ => Exit::No,
    })
}

fn print(verdict: &Result<Verification, Broken>) -> io::Result<()> {
    let mut out = out::stdout();
    let (good, bad, warn) = (out::GOOD, out::BAD, out::WARN);
    let report = match verdict {
        Ok(report) => report,
        Err(broken) => {
            let broken = broken.to_string();
            return writeln!(out, "{bad}broken{bad:#}   {}", visible(&broken));
        }
    };
    if report.gaps.is_empty() {
        writeln!(out, "{good}whole{good:#}    {} records", report.records)?;
    } else {
        writeln!(
            out,
            "{warn}gaps{warn:#}     {} records, whole but for what the trail declares missing",
            report.records
        )?;
    }
    writeln!(out, "trail    {}", visible(&report.trail))?;
    writeln!(out, "records  {} to {}", report.from, report.to)?;
    writeln!(
        out,
        "times    {} to {}",
        visible(&report.first_time),
        visible(&report.last_time)
    )?;
    if report.from > 1 && report.gaps.iter().all(|gap| gap.from != Some(1)) {
        let last = report.from - 1;
        writeln!(out, "pruned   records 1 to {last}, as the trail says")?;
    }
    for gap in &report.gaps {
        let note = if gap.vouched {
            ""
        } else {
            " (no checkpoint vouches for this)"
        };
        let told = format!("told at {}: {}{note}", gap.time, gap.cause);
        let told = visible(&told);
        match (gap.from, gap.to, gap.count) {
            (Some(from), Some(to), _) => {
                writeln!(out, "gap      records {from} to {to}, {told}")?;
            }
            (_, _, Some(count)) => {
                writeln!(out, "gap      {count} requests without a record, {told}")?;
            }
            _ => writeln!(out, "gap      {told}")?,
        }
    }
    if report.duplicates > 0 {
        let count = report.duplicates;
        writeln!(out, "twice    {count} lines stand there again, unchanged")?;
    }
    if report.torn > 0 {
        let count = report.torn;
        writeln!(out, "torn     {count} segments end in half a line")?;
    }
    write_clock(report, &mut out)?;
    for range in &report.unsealed {
        let (from, to) = (range.from, range.to);
        writeln!(
            out,
            "unsealed records {from} to {to}: a run ended without a checkpoint behind them"
        )?;
    }
    for back in &report.time_back {
        writeln!(
            out,
            "time     goes back at record {}: from {} to {}",
            back.seq,
            visible(&back.from),
            visible(&back.to)
        )?;
    }
    let more = report.times_back - report.time_back.len() as u64;
    if more > 0 {
        writeln!(out, "time     goes back {more} times more")?;
    }
    write_seals(report, &mut out)?;
    if let Some(count) = report.witnessed {
        writeln!(out, "witness  {count} records are the same")?;
    }
    if let Some(before) = &report.witness_before {
        let (from, to) = (before.from, before.to);
        writeln!(
            out,
            "witness  has records {from} to {to} too, which the trail has no more"
        )?;
    }
    if report.pin_compared == Some(false) {
        writeln!(
            out,
            "{warn}expected{warn:#} not compared: the pin's record was pruned"
        )?;
    }
    writeln!(out, "pin      {}", report.pin)
}

fn write_clock(report: &Verification, out: &mut impl io::Write) -> io::Result<()> {
    if report.clock_steps > 0 {
        writeln!(out, "clock    was set {} times", report.clock_steps)?;
    }
    for jump in &report.unconfirmed {
        writeln!(
            out,
            "clock    record {} tells a jump of {} ahead, which no age counts: see `audit clock`",
            jump.seq,
            span(jump.open)
        )?;
    }
    Ok(())
}

fn write_seals(report: &Verification, out: &mut impl io::Write) -> io::Result<()> {
    let checkpoints = report.checkpoints;
    match report.sealed_to {
        Some(seq) if seq == report.to => {
            writeln!(
                out,
                "sealed   {checkpoints} checkpoints, up to the last record"
            )
        }
        Some(seq) => writeln!(
            out,
            "sealed   {checkpoints} checkpoints, up to record {seq}, also against root later"
        ),
        None => writeln!(
            out,
            "sealed   not checked: --key takes the first public key"
        ),
    }?;
    match report.signed_to {
        Some(seq) => writeln!(
            out,
            "signed   up to record {seq}, against anyone without the key"
        ),
        None => Ok(()),
    }
}

fn print_json(verdict: &Result<Verification, Broken>) -> anyhow::Result<()> {
    let json = match verdict {
        Ok(report) => serde_json::json!({
            "verdict": if report.gaps.is_empty() { "whole" } else { "gaps" },
            "report": report,
        }),
        Err(broken) => serde_json::json!({
            "verdict": "broken",
            "file": broken.place.file,
            "line": broken.place.line,
            "seq": broken.seq,
            "what": broken.what,
        }),
    };
    let json = serde_json::to_string_pretty(&json)?;
    writeln!(out::stdout(), "{}", visible_json(&json))?;
    Ok(())
}

pub(super) fn progress_bar() -> ProgressBar {
    let target = if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(None, target);
    // If the template doesn't parse, indicatif's own style is used.
    if let Ok(style) =
        ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {bytes_per_sec}")
    {
        bar.set_style(style);
    }
    bar
}

pub(super) fn parse_key(text: &str) -> Result<PublicKey, String> {
    PublicKey::parse(text)
        .ok_or_else(|| "a public key is 64 hexadecimal digits, in lower case".to_owned())
}

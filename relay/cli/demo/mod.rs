//! `demo` shows a relay at work, on loopback alone.
//!
//! It runs a stand-in for the billing server, three simulated machines, and the same [`App`] that
//! `serve` runs. It prints what the machines saw and what the trail's file says.

mod machines;
mod report;
mod server;
mod steps;
mod trail;

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use serde_json::Value;
use tokio::sync::mpsc;

use super::exit::Exit;
use super::out;
use crate::app::{App, Instruction};
use crate::config::Config;
use crate::telemetry;
use machines::Machine;
use report::DemoReport;
use server::StandIn;
use steps::{DemoStep, HOST, ZCA, ZVM};
use trail::{DemoTrail, Scratch};

#[derive(Debug, clap::Args)]
pub(super) struct DemoArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &DemoArgs) -> anyhow::Result<Exit> {
    let started = Instant::now();
    let scratch = Scratch::new().context("no temporary directory can be made")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(play(scratch.path(), started))?;
    let mut out = out::stdout();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        report.print(&mut out)?;
    }
    Ok(if report.as_expected {
        Exit::Fine
    } else {
        Exit::No
    })
}

async fn play(directory: &Path, started: Instant) -> anyhow::Result<DemoReport> {
    let server = StandIn::start(HOST)
        .await
        .context("the stand-in server doesn't start")?;
    let tls = Arc::new(server.client_config()?);
    let port = server.address.port();
    let config = Config::parse(&file(port, directory), "demo")
        .map_err(|error| anyhow::anyhow!("the demo's configuration is wrong: {error}"))?;
    telemetry::init(config.log);
    let app = App::build(config).await?;
    let (_, relay) = app.listeners().into_iter().next().context("no listener")?;

    let steps = steps::steps(port);
    let (commands, received) = mpsc::channel(1);
    let story = async {
        // The story owns the sender, so that its failure drops it and so ends the relay too.
        let commands = commands;
        // All sockets are bound before the first is used, because the trail is searched by their
        // ports. Otherwise the kernel could give a closed socket's port to a later one.
        let sockets = steps.iter().map(|step| step.machine.socket());
        let sockets = sockets.collect::<io::Result<Vec<_>>>()?;
        let mut seen = Vec::new();
        for (DemoStep { attempt, .. }, socket) in steps.iter().zip(sockets) {
            let saw = attempt.run(socket, relay, tls.clone()).await;
            seen.push(saw.context("a machine can't connect to the relay on loopback")?);
        }
        commands.send(Instruction::Stop).await?;
        anyhow::Ok(seen)
    };
    // `run` returns once the relay has drained, so the trail is complete.
    let (ran, seen) = tokio::join!(app.run(received), story);
    ran?;
    let trail = DemoTrail::read(directory)?;
    let addresses = (server.address, relay);
    Ok(DemoReport::new(
        addresses,
        steps,
        seen?,
        &trail,
        started.elapsed(),
    ))
}

/// Gives the configuration file that the relay runs on.
///
/// The stand-in can't have port 443, and its name must not be looked up. So a destination of the
/// preset's name replaces the preset's; a site would change one in the same way.
fn file(port: u16, directory: &Path) -> String {
    // A TOML basic string escapes as JSON does.
    let directory = Value::from(directory.to_string_lossy());
    let client = |machine: Machine, role| {
        format!(
            "[[client]]\nname = \"{}\"\nrole = \"{role}\"\nsources = [\"{}\"]\n",
            machine.name, machine.address
        )
    };
    format!(
        r#"
name = "demo"

[[listener]]
name = "proxy"
bind = "127.0.0.1:0"

{zvm}
{zca}
[clients]
unlisted = "deny"

[[destination]]
name = "zerto-billing-9"
hosts = ["{HOST}"]
ports = [{port}]
addresses = ["127.0.0.1"]
ip_ranges = ["127.0.0.1"]
purpose = "billing"

[dns]
servers = ["127.0.0.1:9"]   # never asked: the only name has a static address

[limits]
connections = 64
connections_per_client = 64
tunnels = 32
tunnels_per_client = 32

[sandbox]
mode = "off"

[audit]
directory = {directory}

[admin]
bind = "127.0.0.1:0"

[log]
level = "warn"
"#,
        zvm = client(ZVM, "zvm"),
        zca = client(ZCA, "zca"),
    )
}

//! `check`: is the configuration good, and does the way to each destination work from where the relay stands?
//!
//! It goes the relay's own way: its resolver, its policy, its dialer. What it finds is one [`Report`], printed as lines or as
//! one JSON object.

mod answer;
mod certificate;
mod handshake;
mod notes;
mod report;
mod target;
mod verdict;
mod walk;

use std::io::{self, Write as _};
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::Semaphore;

use self::handshake::TrustStores;
use self::report::{Report, Walk};
use self::target::Stop;
use self::walk::Walker;
use super::exit::Exit;
use super::{ConfigArg, out};
use crate::app::StartError;
use crate::config::Config;
use crate::server::Certificates;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// Check the configuration only, and send nothing
    #[arg(long)]
    offline: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let config = Config::load(&args.config.source())?;
    let certificates = Certificates::load(&config.listeners).map_err(StartError::from)?;
    let stores = if args.offline {
        None
    } else {
        Some(TrustStores::load()?)
    };
    let mut report = Report::new(&config, &certificates, stores.as_ref());
    let mut out = out::stdout();
    if !args.json {
        report.write_head(&mut out)?;
    }
    if let Some(stores) = stores {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(walk_all(config, stores, |walk| {
            if !args.json {
                walk.write(&mut out)?;
            }
            report.add(walk);
            Ok(())
        }))?;
    }
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        report.write_summary(&mut out)?;
    }
    Ok(if report.failed() {
        Exit::No
    } else {
        Exit::Fine
    })
}

/// Walks a few destinations at a time and hands each over in the order of the file, as soon as those before it are done.
async fn walk_all(
    config: Config,
    stores: TrustStores,
    mut done: impl FnMut(Walk) -> io::Result<()>,
) -> anyhow::Result<()> {
    let stops = target::stops(&config.policy);
    let walker = Arc::new(Walker::new(config, stores).map_err(StartError::from)?);
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let walks: Vec<_> = stops
        .into_iter()
        .map(|stop| {
            let (walker, slots) = (walker.clone(), slots.clone());
            tokio::spawn(async move {
                match stop {
                    Stop::Passed(walk) => walk,
                    Stop::Target(target) => {
                        let _slot = slots.acquire().await;
                        walker.walk(&target).await
                    }
                }
            })
        })
        .collect();
    for walk in walks {
        done(walk.await.context("a walk broke off")?)?;
    }
    Ok(())
}

/// Walks under way at the same time: a few, so that one silent destination doesn't hold up the rest.
const AT_ONCE: usize = 4;

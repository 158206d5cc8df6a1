//! `check` says whether the configuration is good, and whether the way to each destination works.
//!
//! [`crate::probe`] walks. This command hands it parts of the configuration, adds notes on the
//! file, and prints what was found: as lines, or as one JSON object.

mod lines;
mod notes;
mod report;

use std::io::Write as _;
use std::sync::Arc;

use self::report::CheckReport;
use super::exit::Exit;
use super::{ConfigArg, out};
use crate::app::StartError;
use crate::config::Config;
use crate::dial::Outgoing;
use crate::dns::Resolver;
use crate::probe::{ProbeOptions, TrustStores, Walks};
use crate::server::Certificates;

#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Check the configuration only, and send nothing
    #[arg(long)]
    offline: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &CheckArgs) -> anyhow::Result<Exit> {
    let config = Config::load(&args.config.source())?;
    let certificates = Certificates::load(&config.listeners).map_err(StartError::from)?;
    let stores = if args.offline {
        None
    } else {
        Some(Arc::new(TrustStores::load()?))
    };
    let notes = notes::on(&config, &certificates, stores.as_deref());
    let mut report = CheckReport::new(&config, args.offline, notes);
    let mut out = out::stdout();
    if !args.json {
        report.write_head(&mut out)?;
    }
    if let Some(stores) = stores {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let mut walks = Walks::start(probe_options(&config)?, stores);
            while let Some(walk) = walks.next().await {
                let walk = walk?;
                if !args.json {
                    lines::write_walk(&walk, &mut out)?;
                }
                report.add(walk);
            }
            anyhow::Ok(())
        })?;
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

/// Takes from the configuration what a probe needs. Must run in the runtime that walks, because the
/// resolver works on it.
fn probe_options(config: &Config) -> Result<ProbeOptions, StartError> {
    let listeners = config.listeners.iter().map(|listener| listener.bind);
    Ok(ProbeOptions {
        policy: config.policy.clone(),
        resolver: Resolver::new(config.dns.clone())?,
        connect_timeout: config.timeouts.connect,
        outgoing: Outgoing::default(),
        own: listeners.chain([config.admin.bind]).collect(),
        self_addresses: config.self_addresses.clone(),
    })
}

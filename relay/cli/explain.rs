//! `explain` tells what policy decides. It runs the relay's own code, and sends no packet.

use std::io::Write as _;
use std::net::IpAddr;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::Serialize;

use super::exit::Exit;
use super::{ConfigArg, out};
use crate::authority::{Authority, DnsName, Host, ServerName};
use crate::config::Config;
use crate::policy::{Client, Origin, Permit, Policy, Role, classify};
use crate::proxy_error::{Reason, Refusal};

#[derive(Debug, clap::Args)]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// The client's address
    #[arg(long, value_name = "ADDR")]
    from: IpAddr,
    /// A host name in the client's certificate. Leave it out if the listener asks for no
    /// certificate
    #[arg(long, value_name = "NAME")]
    certificate: Option<DnsName>,
    /// The target of the CONNECT
    #[arg(long, value_name = "HOST:PORT")]
    to: String,
    /// An address that the name resolves to
    #[arg(long, value_name = "ADDR")]
    address: Option<IpAddr>,
    /// The server name in the ClientHello. An empty name means a ClientHello without one
    #[arg(long, value_name = "NAME")]
    sni: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Holds the decision, and what it rests on. A part is none if the decision ended before it.
#[derive(Debug, Default, Serialize)]
struct Explanation {
    decision: &'static str,
    reason: Option<&'static str>,
    detail: Option<String>,
    enforced: bool,
    client: Option<String>,
    target: Option<String>,
    destination: Option<String>,
    address: Option<String>,
    sni: Option<String>,
}

pub(super) fn run(args: &ExplainArgs) -> anyhow::Result<Exit> {
    let config = Config::load(&args.config.source())?;
    let mut explanation = Explanation {
        decision: "allow",
        enforced: true,
        ..Explanation::default()
    };
    if let Err(refusal) = explain(args, &config.policy, &mut explanation) {
        explanation.decision = "deny";
        explanation.reason = Some(refusal.reason.token());
        explanation.detail = refusal.detail.map(String::from);
    }
    let mut out = out::stdout();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&explanation)?)?;
    } else {
        print(&explanation, &mut out).context("standard output")?;
    }
    Ok(if explanation.reason.is_none() {
        Exit::Fine
    } else {
        Exit::No
    })
}

fn explain(
    args: &ExplainArgs,
    policy: &Policy,
    explanation: &mut Explanation,
) -> Result<(), Refusal> {
    let target = Authority::parse(args.to.as_bytes())
        .map_err(|error| Refusal::new(Reason::MalformedTarget, error.to_string()))?;
    explanation.target = Some(target.to_string());
    let client = policy.admit_with(
        args.from,
        args.certificate.as_ref().map(std::slice::from_ref),
    )?;
    explanation.client = Some(describe_client(&client, args));

    let decided = policy.decide(&client, &target, Timestamp::now());
    let destination = match &decided {
        Ok(permit) => permit.destination().cloned(),
        Err(denial) => denial.destination.clone(),
    };
    explanation.destination = destination.map(|destination| {
        let origin = match &destination.origin {
            Origin::Site => "the site's own",
            Origin::Preset {
                confirmed: true, ..
            } => "preset",
            Origin::Preset {
                confirmed: false, ..
            } => "preset, not confirmed by the vendor",
        };
        format!("{} ({origin})", destination.name)
    });
    let permit = decided.map_err(|denial| denial.refusal)?;
    explanation.enforced = permit.enforced();

    let address = match target.host {
        Host::Literal(address) => Some(address),
        Host::Name(_) => args.address,
    };
    if let Some(address) = address {
        explain_address(address, policy, &permit, explanation)?;
    } else if let Some(addresses) = permit.static_addresses() {
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        explanation.address = Some(format!("{} (static, instead of DNS)", addresses.join(", ")));
    }
    match &args.sni {
        Some(sni) => explain_sni(sni, &permit, explanation),
        None => Ok(()),
    }
}

fn explain_address(
    address: IpAddr,
    policy: &Policy,
    permit: &Permit,
    explanation: &mut Explanation,
) -> Result<(), Refusal> {
    let class = classify(address, policy.nat64_prefixes());
    explanation.address = Some(format!("{address} ({class})"));
    let permitted = permit.screen(&[address]).map_err(|denial| denial.refusal)?;
    explanation.enforced &= permitted.enforced();
    Ok(())
}

fn explain_sni(sni: &str, permit: &Permit, explanation: &mut Explanation) -> Result<(), Refusal> {
    let name = ServerName::parse(sni);
    explanation.sni = Some(match &name {
        ServerName::Absent => "none".to_owned(),
        ServerName::Host(host) => host.to_string(),
        ServerName::Invalid => "not a host name".to_owned(),
    });
    if permit.reads_client_hello() {
        permit.check_server_name(&name)?;
    }
    Ok(())
}

fn describe_client(client: &Client, args: &ExplainArgs) -> String {
    let from = args.from;
    let Some(name) = &client.name else {
        return format!("{from}, unlisted, admitted by [clients] unlisted");
    };
    let from = from.to_canonical();
    let source = client
        .sources
        .iter()
        .filter(|net| net.contains(&from))
        .max_by_key(|net| net.prefix_len());
    let role = client.role.map_or("no role", Role::as_str);
    if let Some(certificate) = &args.certificate {
        return format!("{name} ({role}), by its certificate name {certificate}");
    }
    match source {
        Some(source) => format!("{name} ({role}), by its source {source}"),
        None => format!("{name} ({role})"),
    }
}

fn print(explanation: &Explanation, out: &mut impl std::io::Write) -> std::io::Result<()> {
    let rows = [
        ("client", &explanation.client),
        ("target", &explanation.target),
        ("destination", &explanation.destination),
        ("address", &explanation.address),
        ("sni", &explanation.sni),
    ];
    for (label, value) in rows {
        if let Some(value) = value {
            writeln!(out, "{label:<12} {value}")?;
        }
    }
    let (good, bad, warn) = (out::GOOD, out::BAD, out::WARN);
    match explanation.reason {
        None if explanation.enforced => writeln!(out, "{:<12} {good}allow{good:#}", "decision"),
        None => writeln!(
            out,
            "{:<12} {warn}allow, by report-only: enforced, it would be denied{warn:#}",
            "decision"
        ),
        Some(reason) => {
            writeln!(out, "{:<12} {bad}deny{bad:#}  {reason}", "decision")?;
            match &explanation.detail {
                Some(detail) => writeln!(out, "{:<12} {detail}", "because"),
                None => Ok(()),
            }
        }
    }
}

//! `certs` makes a CA of the site's own, the relay's certificate, and certificates for its clients.
//!
//! It is for sites that have no CA of their own, or don't want to use it here. A directory holds
//! one CA. A later run adds certificates to the directory, and no run changes a file in it.

mod ca;
mod files;
mod leaf;
mod template;

use std::io::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::ArgGroup;
use clap::builder::RangedU64ValueParser;

use self::ca::Ca;
use self::files::NewFile;
use self::template::Validity;
use super::exit::Exit;
use super::out;
use crate::authority::{AuthorityError, DnsName, Host};

#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("subject").required(true).multiple(true)))]
pub(super) struct CertsArgs {
    /// The directory for the files. A CA in it is used again; otherwise a new CA is made
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// A name or address by which clients reach the relay. All that are given go into one
    /// certificate
    #[arg(long = "name", value_name = "NAME", group = "subject", value_parser = parse_name)]
    names: Vec<Host>,
    /// The name in a client's certificate. Each client gets a certificate of its own
    #[arg(long = "client", value_name = "NAME", group = "subject")]
    clients: Vec<DnsName>,
    /// For how many days the relay's and the clients' certificates are valid
    #[arg(long, default_value_t = 397, value_parser = RangedU64ValueParser::<u16>::new().range(1..=LONGEST))]
    days: u16,
}

pub(super) fn run(args: &CertsArgs) -> anyhow::Result<Exit> {
    let validity = Validity::of_days(args.days)?;
    let (ca, ca_files) = match Ca::load(&args.dir)? {
        Some(ca) => (ca, None),
        None => Ca::make(Validity::of_days(CA_DAYS)?).map(|(ca, files)| (ca, Some(files)))?,
    };
    ca.check_outlives(validity)?;

    let mut clients = args.clients.clone();
    clients.sort_unstable();
    clients.dedup();
    let mut made = Vec::new();
    if !args.names.is_empty() {
        made.extend(leaf::server(&args.names, &ca, validity)?);
    }
    for client in &clients {
        made.extend(leaf::client(client, &ca, validity)?);
    }
    // The CA's files come last, so that a CA is found only if everything before it was written.
    made.extend(ca_files.into_iter().flatten());
    files::write(&args.dir, &made)?;
    tell(args, &ca, &made)?;
    Ok(Exit::Fine)
}

fn tell(args: &CertsArgs, ca: &Ca, made: &[NewFile]) -> std::io::Result<()> {
    let mut out = out::stdout();
    for file in made {
        let path = args.dir.join(&file.name);
        writeln!(out, "{}  {}", path.display(), file.what)?;
    }
    writeln!(out, "the CA's SHA-256 fingerprint: {}", ca.fingerprint())
}

/// Reads a name or an address. An IPv6 address has no brackets here, as in a certificate.
fn parse_name(text: &str) -> Result<Host, AuthorityError> {
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(Host::Literal(address)),
        Err(_) => text.parse().map(Host::Name),
    }
}

/// The CA is valid for ten years, because a new one means work on every machine that trusts it.
const CA_DAYS: u16 = 3650;
/// The CA has to outlive what it issues, so no certificate lasts longer than a new CA.
const LONGEST: u64 = CA_DAYS as u64;

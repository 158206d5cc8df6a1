//! The proxies that are compared, all set up alike: CONNECT to the origin's port only, a list of a
//! hundred hosts whose addresses are known without DNS, one log line a tunnel to a file, and room
//! for the idle workload.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use rcgen::{CertificateParams, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::process::{Process, Tree};

/// What to run.
#[derive(Clone)]
pub(crate) enum Kind {
    /// The relay's binary.
    Relay(PathBuf),
    /// The relay as an HTTPS proxy.
    Https(PathBuf),
    Squid(PathBuf),
}

/// A proxy that runs.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<TlsConnector>,
    process: Process,
    /// The directory of its configuration and its log.
    directory: TempDir,
}

/// The host whose tunnels carry anything.
pub(crate) const RAW_HOST: &str = "raw.load.example";
/// The host whose tunnels begin with a ClientHello that names it; the recorded one does.
pub(crate) const TLS_HOST: &str = "ch3.zerto.com";

impl Kind {
    /// Starts a proxy that lets both hosts through to `origin`, and waits until it accepts.
    pub(crate) async fn start(&self, origin: u16) -> anyhow::Result<Running> {
        let directory = tempfile::tempdir()?;
        // Squid gives up root and must still be able to write here.
        fs::set_permissions(directory.path(), Permissions::from_mode(0o777))?;
        let port = free_port()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut tls = None;
        let mut command = match self {
            Self::Relay(binary) => relay(binary, directory.path(), port, origin, "")?,
            Self::Https(binary) => {
                let (connector, keys) = certificate(directory.path())?;
                tls = Some(connector);
                relay(binary, directory.path(), port, origin, &keys)?
            }
            Self::Squid(binary) => squid(binary, directory.path(), port, origin)?,
        };
        let log = fs::File::create(directory.path().join("output"))?;
        command
            .stdout(log.try_clone()?)
            .stderr(Stdio::from(log))
            .current_dir(directory.path());
        let mut running = Running {
            address,
            tls,
            process: Process::start(&mut command)?,
            directory,
        };
        let start = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            let output = running.directory.path().join("output");
            if !running.process.is_running() {
                bail!("it ended: {}", fs::read_to_string(output)?);
            }
            ensure!(start.elapsed() < PATIENCE, "it doesn't accept");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(running)
    }
}

impl Running {
    pub(crate) fn tree(&self) -> Tree {
        self.process.tree()
    }
}

/// Configures the relay with its defaults, and raises only the limits that the load would reach.
fn relay(
    binary: &Path,
    directory: &Path,
    port: u16,
    origin: u16,
    listener: &str,
) -> anyhow::Result<Command> {
    let names: Vec<_> = others().map(|host| format!("\"{host}\"")).collect();
    let (raw, tls) = names.split_at(names.len() / 2);
    // Exactly one destination may decide for an IP literal, so each gets a prefix of its own.
    let to_origin = |within: &str| {
        format!("ports = [{origin}]\naddresses = [\"127.0.0.1\"]\nip_ranges = [\"{within}\"]")
    };
    let (raw_origin, tls_origin) = (to_origin("127.0.0.0/8"), to_origin("127.0.0.1"));
    let text = format!(
        "preset = \"none\"\n\
         [[listener]]\nname = \"proxy\"\nbind = \"127.0.0.1:{port}\"\n{listener}\
         [[destination]]\nname = \"raw\"\nhosts = [\"{RAW_HOST}\", {}]\n{raw_origin}\nsni = \"any\"\ntls_only = false\n\
         [[destination]]\nname = \"tls\"\nhosts = [\"{TLS_HOST}\", {}]\n{tls_origin}\n\
         [dns]\nservers = [\"127.0.0.1:9\"]\n\
         [limits]\nconnections = {MOST}\nconnections_per_client = {MOST}\ntunnels = {MOST}\ntunnels_per_client = {MOST}\n\
         rate_per_client = \"1000000/s\"\n\
         [audit]\ndirectory = \"{}\"\n\
         [admin]\nbind = \"127.0.0.1:0\"\n",
        raw.join(", "),
        tls.join(", "),
        directory.join("audit").display(),
    );
    let file = directory.join("relay.toml");
    fs::write(&file, text)?;
    let mut command = Command::new(binary);
    command.arg("serve").arg("--config").arg(file);
    Ok(command)
}

/// A certificate for loopback, how to trust it, and the listener's key that names it.
fn certificate(directory: &Path) -> anyhow::Result<(TlsConnector, String)> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()])?.self_signed(&key)?;
    let (pem, pem_key) = (directory.join("relay.pem"), directory.join("relay.key"));
    fs::write(&pem, certificate.pem())?;
    fs::write(&pem_key, key.serialize_pem())?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (pem, pem_key) = (pem.display(), pem_key.display());
    let keys = format!("tls = {{ certificate = \"{pem}\", key = \"{pem_key}\" }}\n");
    Ok((TlsConnector::from(Arc::new(config)), keys))
}

/// Configures squid without cache and helpers, which a CONNECT doesn't need, and with its cheapest
/// log.
fn squid(binary: &Path, directory: &Path, port: u16, origin: u16) -> anyhow::Result<Command> {
    let hosts: Vec<_> = [RAW_HOST.to_owned(), TLS_HOST.to_owned()]
        .into_iter()
        .chain(others())
        .collect();
    let known: Vec<_> = hosts
        .iter()
        .map(|host| format!("127.0.0.1 {host}"))
        .collect();
    fs::write(directory.join("hosts"), known.join("\n"))?;
    fs::write(directory.join("allowed"), hosts.join("\n"))?;
    let here = directory.display();
    let text = format!(
        "http_port 127.0.0.1:{port}\n\
         workers 1\n\
         acl connect method CONNECT\n\
         acl origin port {origin}\n\
         acl allowed dstdomain \"{here}/allowed\"\n\
         http_access allow connect origin allowed\n\
         http_access deny all\n\
         access_log stdio:{here}/access.log squid\n\
         buffered_logs on\n\
         cache_log {here}/cache.log\n\
         pid_filename {here}/squid.pid\n\
         coredump_dir {here}\n\
         hosts_file {here}/hosts\n\
         dns_nameservers 127.0.0.1\n\
         cache deny all\n\
         cache_mem 0\n\
         icp_port 0\n\
         pinger_enable off\n\
         max_filedescriptors {}\n\
         shutdown_lifetime 0 seconds\n",
        2 * MOST + 1024
    );
    let file = directory.join("squid.conf");
    fs::write(&file, text)?;
    let mut command = Command::new(binary);
    command.arg("-N").arg("-f").arg(file);
    Ok(command)
}

/// Other hosts, so that each list has a hundred.
fn others() -> impl Iterator<Item = String> {
    (1..=98).map(|number| format!("host-{number}.load.example"))
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

/// The most tunnels at a time. Each takes two descriptors, here too, and 20,000 is a usual hard
/// limit.
const MOST: usize = 6000;
const PATIENCE: Duration = Duration::from_secs(20);

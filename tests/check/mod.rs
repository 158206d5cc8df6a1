//! `check`, as an operator runs it: the binary, a file, and servers that are right or wrong in one
//! way each.

mod certificates;
mod hops;
mod output;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
};
use rustls::ServerConfig;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::dns::NameServer;
use crate::support::relay::upstream;
use crate::support::tls::server_config;

const HOST: &str = "billing.example";

/// A certificate authority that some machine may trust.
struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

impl Ca {
    fn named(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, directory }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Configures a server with a certificate that `edit` has changed.
    fn issue(&self, name: &str, edit: impl FnOnce(&mut CertificateParams)) -> ServerConfig {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        edit(&mut params);
        server_config(&params, &self.issuer)
    }

    fn good(&self) -> ServerConfig {
        self.issue(HOST, |_| ())
    }
}

/// Starts an HTTPS server that answers every request with 403 and a clock of its own.
struct Https {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Https {
    async fn start(config: ServerConfig) -> Self {
        Self::start_ahead(config, SignedDuration::ZERO).await
    }

    async fn start_ahead(config: ServerConfig, ahead: SignedDuration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            requests: Arc::default(),
        };
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let requests = server.requests.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => break,
                    }
                }
                if !head.starts_with(b"HEAD / HTTP/1.1\r\nhost: billing.example:") {
                    continue;
                }
                requests.fetch_add(1, Ordering::SeqCst);
                let date = Timestamp::now() + ahead;
                let date = DateTimePrinter::new()
                    .timestamp_to_rfc9110_string(&date)
                    .unwrap();
                let answer =
                    format!("HTTP/1.1 403 Forbidden\r\nDate: {date}\r\nContent-Length: 9\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        server
    }

    fn destination(&self) -> String {
        upstream(HOST, self.address.port())
    }
}

/// Holds the result of one run.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    /// Returns the line of a hop of the only destination, without its name.
    fn hop(&self, hop: &str) -> String {
        let mut hops = self.out.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            let status = words.next()?;
            (words.next()? == hop && line.starts_with("  "))
                .then(|| format!("{status} {}", words.collect::<Vec<_>>().join(" ")))
        });
        hops.next()
            .unwrap_or_else(|| panic!("no {hop} in:\n{}{}", self.out, self.err))
    }

    #[track_caller]
    fn has(&self, hop: &str, expected: &str) {
        let line = self.hop(hop);
        assert!(line.contains(expected), "{line:?} lacks {expected:?}");
    }

    /// Returns how each hop came out, up to the clock.
    fn statuses(&self) -> Vec<String> {
        ["name", "ranges", "tcp", "tls", "http", "clock"]
            .map(|hop| self.hop(hop).split(' ').next().unwrap().to_owned())
            .to_vec()
    }
}

/// Prepares the command on a file with these keys and no preset. The machine trusts `ca` and
/// nothing else.
fn command(directory: &TempDir, keys: &str, args: &[&str], ca: Option<&Ca>) -> Command {
    let dns = if keys.contains("[dns]") {
        ""
    } else {
        "[dns]\nservers = [\"127.0.0.1:9\"]\n"
    };
    let preset = if keys.contains("preset = ") {
        ""
    } else {
        "preset = \"none\"\n"
    };
    let file = directory.path().join("relay.toml");
    fs::write(&file, format!("{preset}{keys}\n{dns}")).unwrap();
    let roots = ca.map_or_else(|| directory.path().join("no-roots.pem"), Ca::file);
    let mut command = Command::new(env!("CARGO_BIN_EXE_callhome-relay"));
    command
        .arg("check")
        .arg("--config")
        .arg(file)
        .args(args)
        .env_remove("SSL_CERT_DIR")
        .env_remove("STATE_DIRECTORY")
        .env("SSL_CERT_FILE", roots)
        .stdin(Stdio::null());
    command
}

async fn check_with(keys: &str, args: &[&str], ca: Option<&Ca>) -> Ran {
    let directory = tempfile::tempdir().unwrap();
    let mut command = command(&directory, keys, args, ca);
    let output: Output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

async fn check(keys: &str) -> Ran {
    check_with(keys, &[], None).await
}

/// Adds a destination whose name is looked up at `dns`.
fn looked_up(dns: &NameServer, ranges: &str) -> String {
    format!(
        "[[destination]]\nname = \"upstream\"\nhosts = [\"{HOST}\"]\n{ranges}\n\
         [dns]\nservers = [\"{}\"]\ntimeout = \"300ms\"\n",
        dns.address
    )
}

//! What the command `certs` makes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

use super::command::{Ran, binary, finish};

/// The directory that the command writes to, in one run or in several.
pub(crate) struct Made(TempDir);

impl Made {
    /// Returns a directory in which nothing is made yet.
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Returns a directory with a certificate for the relay and one for a client.
    pub(crate) fn full() -> Self {
        let pki = Self::new();
        let names = [
            "--name",
            RELAY,
            "--name",
            "192.0.2.10",
            "--name",
            "2001:db8::1",
            "--client",
            CLIENT,
        ];
        let ran = pki.make(&names);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        pki
    }

    pub(crate) fn make(&self, args: &[&str]) -> Ran {
        let dir = self.dir().display().to_string();
        finish(binary(&[&["certs", "--dir", &dir], args].concat()))
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.0.path().join("a/pki")
    }

    /// Returns a path beside the directory, on the same disk.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir().join(name).display().to_string()
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn certificate(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.path(name)).unwrap()
    }

    pub(crate) fn key(&self, name: &str) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_file(self.path(name)).unwrap()
    }

    /// Returns the content of every file, hidden ones too.
    pub(crate) fn contents(&self) -> BTreeMap<String, String> {
        let entries = fs::read_dir(self.dir()).into_iter().flatten();
        let name = |entry: std::io::Result<fs::DirEntry>| {
            entry.unwrap().file_name().into_string().unwrap()
        };
        entries
            .map(name)
            .map(|name| (name.clone(), self.read(&name)))
            .collect()
    }

    pub(crate) fn modes(&self) -> BTreeMap<String, u32> {
        self.contents()
            .into_keys()
            .map(|name| (name.clone(), mode(&self.dir().join(name))))
            .collect()
    }
}

pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The name in the relay's certificate.
pub(crate) const RELAY: &str = "relay.dmz.example";
/// The name in the client's certificate.
pub(crate) const CLIENT: &str = "zvm-ams-1";
/// The client's files without their endings.
pub(crate) const CLIENT_STEM: &str = "client-zvm-ams-1";

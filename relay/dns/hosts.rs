//! The hosts file: the operator's own answers, which are used before any server is asked.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::authority::DnsName;

/// A hosts file that is read again after it has changed.
#[derive(Debug)]
pub(super) struct HostsFile {
    path: PathBuf,
    loaded: Mutex<LoadedHosts>,
}

#[derive(Debug)]
struct LoadedHosts {
    checked: Instant,
    stamp: Option<FileStamp>,
    table: HostsTable,
}

type HostsTable = HashMap<DnsName, Vec<IpAddr>>;

/// Time of change and size. They differ between two states of the file, so that it needn't be read
/// to notice.
type FileStamp = (SystemTime, u64);

impl HostsFile {
    pub(super) fn load(path: PathBuf, now: Instant) -> Self {
        let loaded = LoadedHosts {
            checked: now,
            stamp: stamp(&path),
            table: read(&path).unwrap_or_default(),
        };
        Self {
            path,
            loaded: Mutex::new(loaded),
        }
    }

    /// Gives the addresses of a name. Every few seconds it looks whether the file has changed. A
    /// missing file counts as empty.
    ///
    /// When the file can't be read, what it said last still holds. Otherwise a DNS server could
    /// answer for a name of the site's own.
    pub(super) fn get(&self, name: &DnsName, now: Instant) -> Option<Vec<IpAddr>> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(loaded.checked) >= RECHECK {
            loaded.checked = now;
            let stamp = stamp(&self.path);
            if loaded.stamp != stamp {
                loaded.stamp = stamp;
                match read(&self.path) {
                    Ok(table) => loaded.table = table,
                    Err(error) => tracing::warn!(
                        path = %self.path.display(),
                        %error,
                        "the hosts file has changed and can't be read: its old entries stay in use until it changes again or the relay restarts"
                    ),
                }
            }
        }
        loaded.table.get(name).cloned()
    }
}

fn stamp(path: &PathBuf) -> Option<FileStamp> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn read(path: &PathBuf) -> io::Result<HostsTable> {
    match fs::read(path) {
        Ok(bytes) => Ok(parse(&String::from_utf8_lossy(&bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(HostsTable::new()),
        Err(error) => Err(error),
    }
}

/// Parses hosts(5): an address, then its names; `#` starts a comment. Lines and names that can't be
/// used are ignored, as the C library does, because other programs use the file too.
fn parse(text: &str) -> HostsTable {
    let mut table = HostsTable::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut fields = line.split_ascii_whitespace();
        let Some(Ok(address)) = fields.next().map(str::parse::<IpAddr>) else {
            continue;
        };
        for name in fields.filter_map(|field| field.parse::<DnsName>().ok()) {
            let addresses = table.entry(name).or_default();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    table
}

/// How long a change of the file may go unnoticed.
const RECHECK: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DnsName {
        text.parse().unwrap()
    }

    #[test]
    fn reads_what_hosts_files_hold() {
        let table = parse(
            "# comment\n\
             127.0.0.1\tlocalhost\n\
             ::1 localhost ip6-localhost\r\n\
             \n\
             \u{20} 192.0.2.1   Billing.Example billing #and a comment\n\
             192.0.2.2 billing.example\n\
             192.0.2.1 billing.example\n\
             fe80::1%lo0 zoned.example\n\
             192.0.2.300 wrong.example\n\
             192.0.2.3\n\
             192.0.2.4 under_score.example *.wild.example fine.example.\n\
             no address here",
        );
        let mut names: Vec<_> = table.keys().map(DnsName::as_str).collect();
        names.sort_unstable();
        let expected = [
            "billing",
            "billing.example",
            "fine.example",
            "ip6-localhost",
            "localhost",
        ];
        assert_eq!(names, expected);
        let both: Vec<IpAddr> = vec![[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        assert_eq!(table[&name("billing.example")], both);
        assert_eq!(table[&name("localhost")].len(), 2);
    }

    #[test]
    fn a_change_is_seen_at_the_next_check_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        let now = Instant::now();
        let hosts = HostsFile::load(path.clone(), now);
        assert_eq!(hosts.get(&name("a.example"), now + RECHECK), None);

        fs::write(&path, "192.0.2.1 a.example").unwrap();
        let checked = now + RECHECK;
        assert_eq!(hosts.get(&name("a.example"), checked + RECHECK / 2), None);
        let found = Some(vec![[192, 0, 2, 1].into()]);
        assert_eq!(hosts.get(&name("a.example"), checked + RECHECK), found);

        // A directory can't be read by any user.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(hosts.get(&name("a.example"), checked + 2 * RECHECK), found);

        fs::remove_dir(&path).unwrap();
        assert_eq!(hosts.get(&name("a.example"), checked + 3 * RECHECK), None);
    }
}

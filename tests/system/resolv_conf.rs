//! The relay follows its name servers to a new resolv.conf, as far as it can read it. /etc is the
//! test's own.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::process::Signal;
use tokio::net::{TcpListener, UdpSocket};

use crate::foreign::tools;
use crate::namespace;
use crate::support::client;
use crate::support::dns::NameServer;
use crate::support::process::{Process, write_config};
use crate::support::wait;

#[test]
fn another_resolv_conf_is_followed() {
    tools::need(&["ip", "mount"]);
    let prepare = "ip link set lo up\nmount -t tmpfs none /etc\nmount -t tmpfs none /run";
    let test = "resolv_conf::in_namespaces_of_its_own";
    namespace::run_test(&["--net", "--mount"], prepare, test);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "another_resolv_conf_is_followed runs this in namespaces"]
async fn in_namespaces_of_its_own() {
    let servers = [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];
    let mut asked = Vec::new();
    for address in servers {
        let udp = UdpSocket::bind((address, 53)).await.unwrap();
        let tcp = TcpListener::bind((address, 53)).await.unwrap();
        asked.push(NameServer::on((udp, tcp)));
    }
    let [first, second] = servers.map(|address| format!("nameserver {address}\n"));
    let managed = Path::new("/run/systemd/resolve/resolv.conf");
    let plain = Path::new("/etc/resolv.conf");
    fs::create_dir_all(managed.parent().unwrap()).unwrap();

    // Most systems have a link to a file that is replaced.
    replace(managed, &first);
    symlink("../run/systemd/resolve/resolv.conf", plain).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let process = start(directory.path());
    ask(&process, "one.example").await;
    assert_eq!(counts(&asked), [true, false]);
    replace(managed, &second);
    reload(&process, "configuration loaded");
    ask(&process, "two.example").await;
    assert_eq!(counts(&asked), [true, true]);
    drop(process);

    // What is written into a plain file is followed. A file that replaces it isn't, and the log
    // tells why.
    fs::remove_file(plain).unwrap();
    fs::write(plain, &first).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let process = start(directory.path());
    let before = asked[1].all_queries();
    fs::write(plain, &second).unwrap();
    reload(&process, "configuration loaded");
    ask(&process, "three.example").await;
    assert!(asked[1].all_queries() > before);
    replace(plain, &first);
    reload(
        &process,
        "/etc/resolv.conf isn't the file that was there at the start",
    );
    // The old servers are still used.
    let before = asked[1].all_queries();
    ask(&process, "four.example").await;
    assert!(asked[1].all_queries() > before);
}

fn start(directory: &Path) -> Process {
    let keys = "[sandbox]\nmode = \"require\"\n[[destination]]\nname = \"any\"\nhosts = [\"*.example.com\", \"one.example\", \
                \"two.example\", \"three.example\", \"four.example\"]";
    write_config(directory, keys, "");
    let file = directory.join("relay.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("servers = [\"127.0.0.1:9\"]\n", "")).unwrap();
    Process::serve(directory)
}

/// Asks for a name that the servers don't have, because only the queries count.
async fn ask(process: &Process, name: &str) {
    let head = client::connect(&format!("{name}:443"));
    let answer = client::ask(process.proxy, head.as_bytes()).await;
    assert_eq!(answer.phrase, "dns_failed", "{answer:?}");
}

fn counts(asked: &[NameServer]) -> Vec<bool> {
    asked
        .iter()
        .map(|server| server.all_queries() > 0)
        .collect()
}

fn reload(process: &Process, until: &str) {
    let before = process.said().matches(until).count();
    process.signal(Signal::HUP);
    wait::until(until, || process.said().matches(until).count() > before);
}

fn replace(path: &Path, content: &str) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(new, path).unwrap();
}

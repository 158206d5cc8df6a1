//! What confined code can't do. This test program's own code tries it, in the sandbox that the
//! relay enters.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::Path;
use std::process::Command;
use std::thread;

use callhome_relay::os::sandbox::{Confinement, Files, Sandbox, SandboxOptions};
use rustix::process::{Signal, geteuid, getppid, kill_process, test_kill_process};
use socket2::{Domain, Protocol, Socket, Type};

use super::own_test;

#[test]
fn nothing_but_its_own_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = own_test("sandbox::inside::tries_everything");
    let output = command.env("DIRECTORY", directory.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // The child's own report may be wrong, but the file isn't.
    assert_eq!(
        fs::read(directory.path().join("outside")).unwrap(),
        b"before"
    );
}

#[test]
#[ignore = "nothing_but_its_own_is_left runs this in a process of its own"]
fn tries_everything() {
    let root = std::env::var_os("DIRECTORY").unwrap();
    let root = Path::new(&root);
    let (own, conf) = (root.join("own"), root.join("conf"));
    fs::create_dir(&own).unwrap();
    fs::create_dir(&conf).unwrap();
    fs::write(root.join("outside"), "before").unwrap();
    fs::write(conf.join("relay.toml"), "first").unwrap();
    fs::write(conf.join("next"), "second").unwrap();
    fs::write(own.join("open"), "").unwrap();
    symlink(root.join("outside"), own.join("way-out")).unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let name = SocketAddr::from_abstract_name(address.to_string()).unwrap();
    let abstract_one = UnixDatagram::bind_addr(&name).unwrap();
    let at_a_path = UnixDatagram::bind(root.join("log")).unwrap();
    let raw = || Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4));
    let netlink = || Socket::new(Domain::from(libc_netlink()), Type::DGRAM, None);

    // Outside of the sandbox all of it works, as far as the test's own user may.
    Command::new("true").status().unwrap();
    if geteuid().is_root() {
        File::open("/etc/shadow").unwrap();
    }
    netlink().unwrap();
    test_kill_process(getppid().unwrap()).unwrap();
    let files = Files {
        written: vec![own.clone()],
        read: vec![
            conf.join("relay.toml"),
            "/etc/hosts".into(),
            "/etc/passwd".into(),
        ],
    };
    let options = SandboxOptions {
        mode: Confinement::Require,
        user: None,
    };
    Sandbox::prepare(&options).unwrap().enter(&files).unwrap();

    its_own_files_are_left(root);
    TcpStream::connect(address).unwrap();
    server.accept().unwrap();
    UdpSocket::bind("127.0.0.1:0").unwrap();
    UnixDatagram::unbound()
        .unwrap()
        .connect(root.join("log"))
        .unwrap();
    drop(at_a_path);

    other_files_are_gone(root);
    // Programs and processes
    missing("a program", Command::new("true").status());
    missing(
        "a signal",
        Ok(kill_process(getppid().unwrap(), Signal::CONT)).and_then(|it| Ok(it?)),
    );
    // Sockets
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    denied("a port", TcpListener::bind("127.0.0.1:0"));
    missing(
        "listening",
        rustix::net::listen(socket, 1).map_err(Into::into),
    );
    missing("raw", raw());
    missing("netlink", netlink());
    let stranger = UnixDatagram::unbound().unwrap();
    refused(
        "an abstract socket",
        io::ErrorKind::PermissionDenied,
        stranger.connect_addr(&name),
    );
    drop(abstract_one);

    // A thread that starts now is confined as well.
    let file = root.join("outside");
    thread::spawn(move || {
        denied("a thread's", File::open(file));
        missing("a thread's program", Command::new("true").status());
    })
    .join()
    .unwrap();
}

fn its_own_files_are_left(root: &Path) {
    let (own, conf) = (root.join("own"), root.join("conf"));
    fs::write(own.join("a"), "content").unwrap();
    fs::rename(own.join("a"), own.join("b")).unwrap();
    assert_eq!(fs::read(own.join("b")).unwrap(), b"content");
    let open = OpenOptions::new()
        .append(true)
        .open(own.join("open"))
        .unwrap();
    open.set_len(10).unwrap();
    open.sync_all().unwrap();
    fs::remove_file(own.join("b")).unwrap();
    assert_eq!(fs::read_dir(&own).unwrap().count(), 2);
    for file in [
        &*conf.join("relay.toml"),
        &*conf.join("next"),
        "/etc/hosts".as_ref(),
        "/etc/passwd".as_ref(),
    ] {
        fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}

fn other_files_are_gone(root: &Path) {
    let (own, conf) = (root.join("own"), root.join("conf"));
    for file in [
        "/etc/shadow",
        "/etc/group",
        "/proc/self/environ",
        "/proc/self/maps",
        "/dev/zero",
    ] {
        denied(file, File::open(file));
    }
    denied("outside", File::open(root.join("outside")));
    denied("the way out", File::open(own.join("way-out")));
    denied("its root", fs::read_dir(root));
    denied("the directory of what it may read", fs::read_dir(&conf));
    // Writing
    for file in [
        root.join("outside"),
        root.join("new"),
        conf.join("relay.toml"),
        conf.join("new"),
        own.join("way-out"),
    ] {
        denied("write", fs::write(file, "after"));
    }
    denied("out", fs::rename(own.join("open"), root.join("open")));
    refused(
        "in",
        io::ErrorKind::CrossesDevices,
        fs::hard_link(root.join("outside"), own.join("outside")),
    );
    denied("remove", fs::remove_file(root.join("outside")));
    denied("a directory", fs::create_dir(own.join("new")));
    denied("a link", symlink("/etc/shadow", own.join("link")));
    denied("a socket", UnixListener::bind(own.join("socket")));
    missing(
        "mode",
        fs::set_permissions(own.join("open"), fs::Permissions::from_mode(0o777)),
    );
}

/// The number of `AF_NETLINK`, as libc has it.
fn libc_netlink() -> i32 {
    16
}

/// Expects Landlock's refusal.
fn denied<T>(what: &str, result: io::Result<T>) {
    refused(what, io::ErrorKind::PermissionDenied, result);
}

/// Expects seccomp's refusal: there is no such call.
fn missing<T>(what: &str, result: io::Result<T>) {
    refused(what, io::ErrorKind::Unsupported, result);
}

fn refused<T>(what: &str, kind: io::ErrorKind, result: io::Result<T>) {
    match result {
        Ok(_) => panic!("{what}: it can be done"),
        Err(error) => assert_eq!(error.kind(), kind, "{what}: {error}"),
    }
}

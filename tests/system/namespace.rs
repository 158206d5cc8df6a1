//! Namespaces of a test's own. A test may change the network and mount disks there without changing
//! the machine.

use std::process::Command;

use rustix::process::geteuid;

use crate::foreign::tools::{self, cannot_run};

/// Prepares a shell that runs this script in new namespaces of these kinds, which are options of
/// `unshare`. Its user is root there only. The test fails where none can be made, as in most
/// containers.
pub(crate) fn shell(kinds: &[&str], script: &str) -> Command {
    let unshare = |run: &[&str]| {
        let mut command = tools::command("unshare");
        command
            .args(kinds)
            .arg("--map-root-user")
            .args(run)
            .env("PATH", tools::path());
        command
    };
    let tried = unshare(&["true"]).output().unwrap();
    if !tried.status.success() {
        let why = String::from_utf8_lossy(&tried.stderr);
        cannot_run(&format!(
            "no namespaces can be made here ({}); run this as root, outside of an unprivileged container",
            why.trim()
        ));
    }
    unshare(&["sh", "-c", script])
}

/// Prepares a shell with mounts of its own and the machine's own root, which `chattr` and large
/// mounts need.
pub(crate) fn root_shell(script: &str) -> Command {
    need_root();
    let mut command = tools::command("unshare");
    command.args(["--mount", "sh", "-c", script]);
    command
}

/// Fails the test unless it runs as root.
pub(crate) fn need_root() {
    if !geteuid().is_root() {
        cannot_run(
            "missing: root, for tests that become another user, mount a disk or write to /var",
        );
    }
}

/// Runs an ignored test of this program in new namespaces, which the script prepares.
pub(crate) fn run_test(kinds: &[&str], prepare: &str, test: &str) {
    let script = format!(
        "set -e\n{prepare}\nexec '{}' --exact --ignored --nocapture {test}",
        std::env::current_exe().unwrap().display()
    );
    let output = shell(kinds, &script).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{errors}"
    );
    eprintln!("{errors}");
}

//! A relay that root starts becomes another user, which only root can test.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use callhome_trail::verify::{Evidence, verify};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::namespace::need_root;
use crate::support::command::finish;
use crate::support::process::{Process, relay, write_config};

/// Returns a directory that any user may pass through.
fn directory() -> TempDir {
    need_root();
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

fn configure(directory: &Path, user: &str) {
    let keys = format!("[sandbox]\nmode = \"require\"\nuser = \"{user}\"");
    write_config(directory, &keys, "");
}

/// Runs the relay to its end, and returns the user that it ran as.
fn run(directory: &Path) -> String {
    let mut process = Process::serve(directory);
    let user = process.status("Uid");
    assert_eq!(user.len(), 1, "{user:?}");
    process.signal(Signal::INT);
    assert!(process.wait().success());
    user[0].clone()
}

fn refusal(directory: &Path) -> String {
    let mut command = relay();
    command
        .args(["serve", "--config"])
        .arg(directory.join("relay.toml"));
    let ran = finish(command);
    assert_eq!(ran.code, Some(78), "{}", ran.stderr);
    ran.stderr
}

#[test]
fn what_it_made_as_root_goes_with_it() {
    let directory = directory();
    let directory = directory.path();
    configure(directory, "root");
    assert_eq!(run(directory), "0\t0\t0\t0");
    configure(directory, "65532");
    for _ in 0..2 {
        assert_eq!(run(directory), "65532\t65532\t65532\t65532");
    }
    let audit = directory.join("audit");
    let report = verify(&audit, &Evidence::default(), |_| ()).unwrap();
    assert!(report.gaps.is_empty(), "{report:?}");
    for entry in fs::read_dir(&audit).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        assert_eq!(
            (metadata.uid(), metadata.gid()),
            (65532, 65532),
            "{entry:?}"
        );
    }
    assert_eq!(fs::metadata(directory.join("relay.toml")).unwrap().uid(), 0);
}

#[test]
fn a_directory_that_is_not_there_is_made_for_it() {
    let directory = directory();
    let deep = directory.path().join("var/lib");
    configure(directory.path(), "nobody");
    let file = directory.path().join("relay.toml");
    let text = fs::read_to_string(&file).unwrap();
    let text = text.replace(
        &*directory.path().to_string_lossy(),
        &deep.to_string_lossy(),
    );
    fs::write(&file, text).unwrap();
    assert_ne!(run(directory.path()), "0\t0\t0\t0");
    assert_ne!(fs::metadata(deep.join("audit")).unwrap().uid(), 0);
    assert_eq!(fs::metadata(deep).unwrap().uid(), 0);
}

#[test]
fn what_somebody_else_made_stays_theirs() {
    let directory = directory();
    let audit = directory.path().join("audit");
    fs::create_dir(&audit).unwrap();
    configure(directory.path(), "nobody");
    // An empty directory may be anybody's, and so may one with other files in it.
    for file in ["", "access.jsonl"] {
        if !file.is_empty() {
            fs::write(audit.join(file), "").unwrap();
            fs::write(audit.join("notes"), "").unwrap();
        }
        let said = refusal(directory.path());
        assert!(said.contains("Permission denied"), "{said}");
        assert_eq!(fs::metadata(&audit).unwrap().uid(), 0);
    }

    // A file of the trail that has another name elsewhere may be more than a part of the trail.
    fs::remove_dir_all(&audit).unwrap();
    configure(directory.path(), "root");
    run(directory.path());
    let elsewhere = directory.path().join("elsewhere");
    fs::write(&elsewhere, "").unwrap();
    fs::hard_link(&elsewhere, audit.join("torn-1")).unwrap();
    configure(directory.path(), "nobody");
    run(directory.path());
    assert_ne!(fs::metadata(&audit).unwrap().uid(), 0);
    assert_eq!(fs::metadata(&elsewhere).unwrap().uid(), 0);
}

#[test]
fn an_account_that_is_not_there_is_a_mistake_in_the_file() {
    let directory = directory();
    configure(directory.path(), "no-such-account");
    let said = refusal(directory.path());
    let expected = "[sandbox] user: /etc/passwd has no account \"no-such-account\"";
    assert!(said.contains(expected), "{said}");
}

//! The clients: how each is told to upload, and what it shows when it may not.

use std::path::{Path, PathBuf};
use std::process::Command;

pub(super) struct Client {
    /// What has it.
    pub(super) package: &'static str,
    pub(super) command: fn(&Upload) -> Command,
    /// What its user is shown of `403 destination_not_allowed`, in its own words.
    pub(super) refusal: &'static str,
}

/// What is uploaded, and where.
pub(super) struct Upload {
    pub(super) proxy: String,
    pub(super) target: String,
    pub(super) directory: PathBuf,
}

pub(super) fn curl() -> Client {
    Client {
        package: "curl",
        command: |upload| {
            let mut command = Command::new("curl");
            command
                .args(["--silent", "--verbose", "--noproxy", ""])
                .args(["--proxy", &upload.proxy])
                .arg("--cacert")
                .arg(upload.ca())
                // The server reads on without being asked to expect it.
                .args(["--header", "Expect:", "--data-binary"])
                .arg(format!("@{}", upload.body().display()))
                .arg(upload.url());
            command
        },
        refusal: "< HTTP/1.1 403 destination_not_allowed",
    }
}

/// It speaks no HTTP after its CONNECT, so the request is written by hand; and as it doesn't know where the answer ends, the
/// server has to say that it has.
pub(super) fn openssl() -> Client {
    const SCRIPT: &str = r#"
proxy=$1 target=$2 ca=$3 body=$4
{
    printf 'POST / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Length: %s\r\n\r\n' "$target" "$(wc -c < "$body")"
    cat "$body"
} | openssl s_client -quiet -proxy "$proxy" -connect "$target" \
    -servername "${target%:*}" -verify_hostname "${target%:*}" -CAfile "$ca" -verify_return_error
"#;
    Client {
        package: "openssl",
        command: |upload| {
            let mut command = Command::new("sh");
            command
                .args(["-c", SCRIPT, "openssl"])
                .arg(upload.proxy.trim_start_matches("http://"))
                .arg(&upload.target)
                .args([upload.ca(), upload.body()]);
            command
        },
        refusal: "403 destination_not_allowed",
    }
}

pub(super) fn requests() -> Client {
    Client {
        package: "python3-requests",
        command: |upload| python("requests", upload),
        refusal: "403 destination_not_allowed",
    }
}

pub(super) fn httpx() -> Client {
    Client {
        package: "python3-httpx",
        command: |upload| python("httpx", upload),
        refusal: "403 destination_not_allowed",
    }
}

pub(super) fn java() -> Client {
    Client {
        package: "default-jdk-headless",
        command: |upload| {
            let mut command = Command::new("java");
            // What a program that is run once gains from being compiled well is less than it costs.
            command.arg("-XX:TieredStopAtLevel=1");
            script(command, "Upload.java", upload)
        },
        refusal: "Tunnel failed, got: 403",
    }
}

pub(super) fn undici() -> Client {
    Client {
        package: "nodejs and node-undici",
        command: |upload| {
            let mut command = Command::new("node");
            command.env("NODE_PATH", "/usr/share/nodejs");
            script(command, "upload.mjs", upload)
        },
        // Later versions have the number in it, as "response (403)".
        refusal: "!== 200 when HTTP Tunneling",
    }
}

/// The interpreter that sees Debian's packages, whichever one comes first on the path.
fn python(library: &str, upload: &Upload) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.arg(source("upload.py")).arg(library);
    arguments(command, upload)
}

fn script(mut command: Command, file: &str, upload: &Upload) -> Command {
    command.arg(source(file));
    arguments(command, upload)
}

/// Those that all of this directory's programs take.
fn arguments(mut command: Command, upload: &Upload) -> Command {
    command
        .arg(&upload.proxy)
        .arg(upload.ca())
        .arg(upload.url())
        .arg(upload.body());
    command
}

fn source(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/interop")
        .join(file)
}

impl Upload {
    fn url(&self) -> String {
        format!("https://{}/", self.target)
    }

    fn ca(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    fn body(&self) -> PathBuf {
        self.directory.join("body")
    }
}

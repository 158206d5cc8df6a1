//! The clients: the command for an upload by each, and what it shows when it is refused.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::ways::Way;
use crate::foreign::tools;

pub(super) struct Client {
    /// The names in `tests/tools.txt` that it needs.
    pub(super) tools: &'static [&'static str],
    pub(super) command: fn(&Upload<'_>) -> Command,
    /// Whether it closes its connection to an HTTPS proxy without the `close_notify` of RFC 8446,
    /// 6.1.
    pub(super) abrupt: bool,
    /// What it shows its user for `403 destination_not_allowed`, in its own words.
    pub(super) refusal: &'static str,
}

/// An upload: its content and its target.
pub(super) struct Upload<'a> {
    pub(super) way: &'a Way,
    pub(super) proxy: String,
    pub(super) target: String,
    pub(super) directory: &'a Path,
}

pub(super) fn curl() -> Client {
    Client {
        tools: &["curl"],
        abrupt: false,
        command: |upload| {
            let mut command = curl_upload(upload);
            command
                .args(["--noproxy", "", "--proxy", &upload.proxy])
                .arg("--proxy-cacert")
                .arg(upload.ca());
            if let Some(pki) = upload.way.pki.as_ref().filter(|_| upload.way.certified) {
                command
                    .args(["--proxy-cert", &pki.name("client.pem")])
                    .args(["--proxy-key", &pki.name("client.key")]);
            }
            command
        },
        refusal: "< HTTP/1.1 403 destination_not_allowed",
    }
}

pub(super) fn curl_without_proxy() -> Client {
    Client {
        command: |upload| {
            let mut command = curl_upload(upload);
            command
                .args(["--noproxy", "*"])
                .args(["--connect-to", &format!("::{}", upload.proxy)]);
            if upload.way.announces {
                command.arg("--haproxy-protocol");
            }
            command
        },
        refusal: "unrecognized name",
        ..curl()
    }
}

fn curl_upload(upload: &Upload<'_>) -> Command {
    let mut command = tools::command("curl");
    command
        .args(["--silent", "--verbose", "--cacert"])
        .arg(upload.ca())
        // The server reads on without a client's `Expect`.
        .args(["--header", "Expect:", "--data-binary"])
        .arg(format!("@{}", upload.body().display()))
        .arg(upload.url());
    command
}

/// Uploads by `openssl s_client`. It speaks no HTTP after its CONNECT, so the script writes the
/// request. It doesn't know where the answer ends, so the request has the server end TLS.
pub(super) fn openssl() -> Client {
    Client {
        tools: &["openssl"],
        abrupt: false,
        command: |upload| {
            let mut command = openssl_upload(upload);
            command
                .args(["-proxy", upload.proxy.trim_start_matches("http://")])
                .args(["-connect", &upload.target]);
            command
        },
        refusal: "403 destination_not_allowed",
    }
}

pub(super) fn openssl_without_proxy() -> Client {
    Client {
        command: |upload| {
            let mut command = openssl_upload(upload);
            command.args(["-connect", &upload.proxy]);
            command
        },
        refusal: "unrecognized name",
        ..openssl()
    }
}

fn openssl_upload(upload: &Upload<'_>) -> Command {
    const SCRIPT: &str = r#"
target=$1 ca=$2 body=$3
shift 3
{
    printf 'POST / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Length: %s\r\n\r\n' "$target" "$(wc -c < "$body")"
    cat "$body"
} | openssl s_client -quiet "$@" \
    -servername "${target%:*}" -verify_hostname "${target%:*}" -CAfile "$ca" -verify_return_error
"#;
    let mut command = Command::new("sh");
    command
        .args(["-c", SCRIPT, "openssl", &upload.target])
        .args([upload.ca(), upload.body()]);
    command
}

pub(super) fn requests() -> Client {
    Client {
        tools: &["python3", "requests"],
        abrupt: true,
        command: |upload| python("requests", upload),
        refusal: "403 destination_not_allowed",
    }
}

pub(super) fn httpx() -> Client {
    Client {
        tools: &["python3", "httpx"],
        abrupt: false,
        command: |upload| python("httpx", upload),
        refusal: "403 destination_not_allowed",
    }
}

pub(super) fn java() -> Client {
    Client {
        tools: &["javac"],
        abrupt: false,
        command: |upload| {
            let mut command = Command::new("java");
            // A program that runs once gains less from compiling well than that costs.
            command.arg("-XX:TieredStopAtLevel=1");
            script(command, "Upload.java", upload)
        },
        refusal: "Tunnel failed, got: 403",
    }
}

pub(super) fn undici() -> Client {
    Client {
        tools: &["node", "undici"],
        abrupt: true,
        command: |upload| {
            let mut command = tools::command("node");
            command.env("NODE_PATH", "/usr/share/nodejs");
            script(command, "upload.mjs", upload)
        },
        // Later versions put the number into it, as "response (403)".
        refusal: "!== 200 when HTTP Tunneling",
    }
}

/// Runs the interpreter that sees Debian's packages, even if another one comes first on the path.
fn python(library: &str, upload: &Upload<'_>) -> Command {
    let mut command = tools::command("python3");
    command.arg(source("upload.py")).arg(library);
    arguments(command, upload)
}

fn script(mut command: Command, file: &str, upload: &Upload<'_>) -> Command {
    command.arg(source(file));
    arguments(command, upload)
}

/// Adds the arguments that all programs of this directory take.
fn arguments(mut command: Command, upload: &Upload<'_>) -> Command {
    command
        .arg(&upload.proxy)
        .arg(upload.ca())
        .arg(upload.url())
        .arg(upload.body());
    command
}

fn source(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/interop/uploads")
        .join(file)
}

impl Upload<'_> {
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

//! The last two hops: this file sends one HTTP request, and compares this machine's clock with the
//! `Date` of the answer.

use std::error::Error;
use std::time::{Duration, Instant};

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, Response, body, header};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::finding::{Finding, HopOutcome};
use super::target::ProbeTarget;
use super::text::in_full;

/// Keeps what an answer says of its server's time.
#[derive(Debug)]
pub(super) struct Answered {
    /// The `Date` field, as it came.
    date: Option<String>,
    /// This machine's time when the answer had come.
    at: Timestamp,
}

/// Asks for `/` with a HEAD. Every status counts as an answer, because the request got through.
pub(super) async fn ask<S>(stream: S, target: &ProbeTarget) -> HopOutcome<Answered>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let authority = target.authority();
    let started = Instant::now();
    match timeout(WITHIN, head(stream, &authority)).await {
        Ok(Ok(response)) => {
            let date = response.headers().get(header::DATE);
            let answered = Answered {
                date: date.and_then(|date| date.to_str().ok()).map(str::to_owned),
                at: Timestamp::now(),
            };
            let seen = format!(
                "HEAD / answered {} in {} ms",
                response.status().as_u16(),
                started.elapsed().as_millis()
            );
            Ok((answered, Finding::ok(seen)))
        }
        Ok(Err(error)) => Err(Finding::fail(
            format!("no HTTP answer: {}", in_full(&*error)),
            "the server, or a device before it, ended the connection or spoke something else after the handshake",
            format!(
                "try `curl -v https://{authority}/` from this machine, and ask who runs the server"
            ),
        )),
        Err(_) => Err(Finding::fail(
            format!("no HTTP answer within {} s", WITHIN.as_secs()),
            "the handshake worked, but the request or its answer was lost: a device that inspects content, a path \
             that drops large packets (MTU), or a server in trouble",
            format!(
                "try `curl -v https://{authority}/` from this machine, and from outside the firewall"
            ),
        )),
    }
}

async fn head<S>(
    stream: S,
    authority: &str,
) -> Result<Response<body::Incoming>, Box<dyn Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::head("/")
        .header(header::HOST, authority)
        .header(header::USER_AGENT, AGENT)
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    Ok(sender.send_request(request).await?)
}

/// Compares this machine's clock with the time that the server gave (RFC 9110, 6.6.1).
pub(super) fn compare_clocks(answered: &Answered) -> Finding {
    let Some(date) = &answered.date else {
        return Finding::skipped("the answer has no Date");
    };
    let Ok(theirs) = DateTimeParser::new().parse_timestamp(date) else {
        return Finding::skipped("the answer's Date can't be read");
    };
    let ahead = answered.at.as_second() - theirs.as_second();
    let seen = match ahead {
        0 => "agrees with the answer's Date".to_owned(),
        1.. => format!("{ahead} s ahead of the answer's Date"),
        _ => format!("{} s behind the answer's Date", ahead.unsigned_abs()),
    };
    if ahead.unsigned_abs() <= MAX_SKEW {
        return Finding::ok(seen);
    }
    Finding::warn(
        seen,
        "this machine's clock is wrong, or the server's; certificates are judged by it, and the audit trail has its times",
        "see whether this machine's clock is synchronised (`timedatectl`, `chronyc tracking`)",
    )
}

/// Bounds the request and its answer.
const WITHIN: Duration = Duration::from_secs(10);
/// The difference of the clocks that is no warning yet, in seconds.
const MAX_SKEW: u64 = 60;
const AGENT: &str = concat!("callhome-relay/", env!("CARGO_PKG_VERSION"), " (check)");

#[cfg(test)]
mod tests {
    use super::super::finding::HopStatus;
    use super::*;

    #[test]
    fn a_minute_off_is_a_warning() {
        let found = |date: Option<&str>| {
            let answered = Answered {
                date: date.map(str::to_owned),
                at: "1994-11-06T08:49:37.9Z".parse().unwrap(),
            };
            let finding = compare_clocks(&answered);
            (finding.status, finding.seen)
        };
        for (date, status, seen) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", HopStatus::Ok, "agrees"),
            ("Sun, 06 Nov 1994 08:48:37 GMT", HopStatus::Ok, "60 s ahead"),
            (
                "Sun, 06 Nov 1994 08:50:37 GMT",
                HopStatus::Ok,
                "60 s behind",
            ),
            (
                "Sun, 06 Nov 1994 08:48:36 GMT",
                HopStatus::Warn,
                "61 s ahead",
            ),
            (
                "Sun, 06 Nov 1994 10:49:37 GMT",
                HopStatus::Warn,
                "7200 s behind",
            ),
            ("yesterday", HopStatus::Skipped, "can't be read"),
            ("", HopStatus::Skipped, "can't be read"),
        ] {
            let (found, text) = found(Some(date));
            assert_eq!(found, status, "{date}");
            assert!(text.contains(seen), "{date}: {text}");
        }
        assert_eq!(found(None).0, HopStatus::Skipped);
    }
}

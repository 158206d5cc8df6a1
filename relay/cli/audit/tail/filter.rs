//! The options that choose which records `audit tail` shows.

use std::net::IpAddr;
use std::str::FromStr;

use callhome_trail::{Decision, Record, Refusals};
use ipnet::IpNet;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

#[derive(Debug, Default, clap::Args)]
pub(super) struct Filter {
    /// Of this client only
    #[arg(long, value_name = "NAME|ADDR|CIDR")]
    client: Option<ClientFilter>,
    /// Decided by this destination only
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
    /// With this decision only
    #[arg(long, value_name = "allow|deny", value_parser = decision)]
    decision: Option<Decision>,
    /// Not before: 2026-11-24, 2026-11-24T14:00:00Z, or back from now: 30m, 2h, 1d
    #[arg(long, value_name = "T", value_parser = time)]
    since: Option<Timestamp>,
    /// Before
    #[arg(long, value_name = "T", value_parser = time)]
    until: Option<Timestamp>,
}

/// A network, or the name of a client. An address is a network of one.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ClientFilter {
    Net(IpNet),
    Name(String),
}

impl Filter {
    pub(super) fn since(&self) -> Option<Timestamp> {
        self.since
    }

    pub(super) fn matches(&self, record: &Record) -> bool {
        self.since.is_none_or(|since| record.time >= since)
            && self.until.is_none_or(|until| record.time < until)
            && self
                .decision
                .is_none_or(|decision| record.decision == Some(decision))
            && self
                .destination
                .as_ref()
                .is_none_or(|name| record.destination.as_deref() == Some(name.as_str()))
            && self
                .client
                .as_ref()
                .is_none_or(|client| client.matches(record))
    }
}

impl ClientFilter {
    fn matches(&self, record: &Record) -> bool {
        let client = record.client.as_ref();
        match self {
            Self::Net(net) => client
                .map(|client| client.address)
                .or_else(|| counted_address(record))
                .is_some_and(|address| net.contains(&address)),
            Self::Name(name) => {
                client.is_some_and(|client| client.name.as_deref() == Some(name.as_str()))
            }
        }
    }
}

/// The client's address in a record of refusals that were counted together.
fn counted_address(record: &Record) -> Option<IpAddr> {
    record.data::<Refusals>().map(|refusals| refusals.address)
}

impl FromStr for ClientFilter {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let net = text.parse().or_else(|_| {
            text.parse::<IpAddr>()
                .map(|address| address.to_canonical().into())
        });
        Ok(net.map_or_else(|_| Self::Name(text.to_owned()), Self::Net))
    }
}

fn decision(text: &str) -> Result<Decision, &'static str> {
    match text {
        "allow" => Ok(Decision::Allow),
        "deny" => Ok(Decision::Deny),
        _ => Err("allow or deny"),
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    time_at(text, Timestamp::now())
}

/// Parses a time, the beginning of a day in UTC, or how long before `now`.
fn time_at(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Some(ago) = ago(text) {
        return now.checked_sub(ago).map_err(|error| error.to_string());
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let date = text
        .parse::<Date>()
        .ok()
        .filter(|_| text.len() == "2026-11-24".len())
        .and_then(|date| TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok());
    date.ok_or_else(|| "write 2026-11-24, 2026-11-24T14:00:00Z, or 30s, 15m, 2h, 1d".to_owned())
}

fn ago(text: &str) -> Option<SignedDuration> {
    let unit = match text.as_bytes().last()? {
        b's' => 1,
        b'm' => 60,
        b'h' => 3600,
        b'd' => 86_400,
        _ => return None,
    };
    let count = &text[..text.len() - 1];
    let digits = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
    let count: i64 = digits.then(|| count.parse().ok()).flatten()?;
    Some(SignedDuration::from_secs(count.checked_mul(unit)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_points_days_or_spans() {
        let now: Timestamp = "2026-11-24T14:00:00Z".parse().unwrap();
        for (text, time) in [
            ("2026-11-24", "2026-11-24T00:00:00Z"),
            ("2026-11-24T13:00:00+02:00", "2026-11-24T11:00:00Z"),
            ("90m", "2026-11-24T12:30:00Z"),
            ("2d", "2026-11-22T14:00:00Z"),
        ] {
            assert_eq!(time_at(text, now), Ok(time.parse().unwrap()), "{text}");
        }
        for wrong in [
            "",
            "d",
            "-1d",
            "yesterday",
            "99999999999999999999d",
            "2026-11-31",
            "1ü",
        ] {
            assert!(time_at(wrong, now).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_client_is_a_name_an_address_or_a_network() {
        let client = |text: &str| text.parse::<ClientFilter>().unwrap();
        assert_eq!(client("10.0.0.1"), client("10.0.0.1/32"));
        assert_eq!(client("::ffff:10.0.0.1"), client("10.0.0.1"));
        assert_eq!(client("zvm-1"), ClientFilter::Name("zvm-1".into()));
    }
}

//! The options that choose records of the trail. Every command that shows or converts them has the
//! same.

use std::collections::HashSet;
use std::net::IpAddr;
use std::str::FromStr;

use callhome_trail::{Counted, Decision, Line, Record, TimeSpan};
use ipnet::IpNet;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

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
    /// Of this session only: the id in the answer to a refused request
    #[arg(long, value_name = "ID")]
    session: Option<String>,
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

/// Applies a filter to records in the order of the trail.
#[derive(Debug)]
pub(super) struct Matcher<'a> {
    filter: &'a Filter,
    /// The addresses of the client that the filter names, as far as its records had them.
    addresses: HashSet<IpAddr>,
}

impl Filter {
    pub(super) fn matcher(&self) -> Matcher<'_> {
        Matcher {
            filter: self,
            addresses: HashSet::new(),
        }
    }

    /// The session that is looked for.
    pub(super) fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// Whether the filter itself bounds how many records match: all that are new, or one session's.
    pub(super) fn is_bounded(&self) -> bool {
        self.since.is_some() || self.session.is_some()
    }

    /// The span in which records may match. The id of a session has the time of its beginning.
    pub(super) fn span(&self) -> TimeSpan {
        let began = self.session().and_then(began);
        TimeSpan {
            since: self.since.max(began),
            until: self.until,
        }
    }

    fn times(&self) -> TimeSpan {
        TimeSpan {
            since: self.since,
            until: self.until,
        }
    }

    /// Whether a record may match that this version can't read. None if that can't be known.
    pub(super) fn matches_unread(&self, line: &Line<'_>) -> Option<bool> {
        let time = line.time.parse();
        if time.is_ok_and(|time| !self.times().contains(time)) {
            return Some(false);
        }
        let is_all = self.client.is_none()
            && self.destination.is_none()
            && self.decision.is_none()
            && self.session.is_none();
        is_all.then_some(true)
    }
}

impl Matcher<'_> {
    /// Whether the record matches. Each record of the trail must come here, because refusals that
    /// were counted together may have only the address of a client.
    pub(super) fn matches(&mut self, record: &Record) -> bool {
        let is_clients = self.is_clients(record);
        let filter = self.filter;
        filter.times().contains(record.time)
            && filter.decision.is_none_or(|it| has_decision(record, it))
            && filter
                .destination
                .as_ref()
                .is_none_or(|it| is_at(record, it))
            && filter
                .session
                .as_deref()
                .is_none_or(|it| record.session.as_deref() == Some(it))
            && is_clients
    }

    fn is_clients(&mut self, record: &Record) -> bool {
        let Some(wanted) = &self.filter.client else {
            return true;
        };
        if let Some(client) = &record.client {
            let is_wanted = wanted.matches(client.address, client.name.as_deref());
            if is_wanted && self.addresses.len() < MAX_ADDRESSES {
                self.addresses.insert(client.address);
            }
            return is_wanted;
        }
        Counted::of(record).is_some_and(|counted| {
            let is_known = counted.client.is_none() && self.addresses.contains(&counted.address);
            is_known || wanted.matches(counted.address, counted.client.as_deref())
        })
    }
}

impl ClientFilter {
    fn matches(&self, address: IpAddr, name: Option<&str>) -> bool {
        match self {
            Self::Net(net) => net.contains(&address),
            Self::Name(wanted) => name == Some(wanted.as_str()),
        }
    }
}

/// Whether the request had this decision, or any of those that were counted together.
fn has_decision(record: &Record, wanted: Decision) -> bool {
    record.decision == Some(wanted)
        || Counted::of(record)
            .is_some_and(|counted| counted.ends.iter().any(|it| it.decision == Some(wanted)))
}

/// Whether the request was for this destination, or any of those that were counted together.
fn is_at(record: &Record, wanted: &str) -> bool {
    record.destination.as_deref() == Some(wanted)
        || Counted::of(record)
            .is_some_and(|counted| counted.destinations.iter().any(|it| &**it == wanted))
}

/// When the session of this id began, as the id tells.
fn began(session: &str) -> Option<Timestamp> {
    let time = Uuid::parse_str(session).ok()?.get_timestamp()?;
    let (seconds, nanoseconds) = time.to_unix();
    Timestamp::new(seconds.try_into().ok()?, nanoseconds.try_into().ok()?).ok()
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

/// The most addresses of one client that are kept.
const MAX_ADDRESSES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_begins_when_its_id_says() {
        let now = Timestamp::now();
        let found = began(&Uuid::now_v7().to_string()).unwrap();
        assert!(
            found.duration_since(now).abs() < SignedDuration::from_secs(10),
            "{found}"
        );
        for other in ["", "0197-1", "6ba7b810-9dad-41d1-80b4-00c04fd430c8"] {
            assert_eq!(began(other), None, "{other}");
        }
    }

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

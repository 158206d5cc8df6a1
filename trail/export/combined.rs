//! The format `combined` of Apache: `%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i"`.
//!
//! The trail has neither the user agent nor the version of the request. Each line has HTTP/1.1,
//! because the relay speaks that.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{method, name, status, target};
use crate::record::{Client, Record};

pub(super) fn line(record: &Record, client: &Client) -> String {
    format!(
        "{} - {} [{}] \"{} {} HTTP/1.1\" {:03} {} \"-\" \"-\"",
        client.address,
        name(client.name.as_deref()),
        time(record.time),
        method(record),
        target(record).as_deref().unwrap_or("-"),
        status(record),
        record.bytes_down,
    )
}

/// Formats a time like `24/Nov/2026:14:03:07 +0000`. The name of the month is English in every
/// locale.
fn time(time: Timestamp) -> String {
    let time = TimeZone::UTC.to_datetime(time);
    let month = usize::try_from(time.month())
        .ok()
        .and_then(|month| MONTHS.get(month.checked_sub(1)?))
        .unwrap_or(&"-");
    format!(
        "{:02}/{month}/{:04}:{:02}:{:02}:{:02} +0000",
        time.day(),
        time.year(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

const MONTHS: &[&str] = &[
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

//! Fills in what the CA's certificate and those that it issues have in common.

use jiff::tz::Offset;
use jiff::{Timestamp, ToSpan as _, civil};
use rcgen::{CertificateParams, DistinguishedName, DnType, SerialNumber};
use ring::rand::{SecureRandom as _, SystemRandom};

/// The days that a certificate is valid on, in UTC.
#[derive(Clone, Copy, Debug)]
pub(super) struct Validity {
    from: civil::Date,
    pub(super) until: civil::Date,
}

impl Validity {
    /// Makes one that ends `days` days from today. It begins yesterday, because the peers' clocks
    /// may be behind.
    pub(super) fn of_days(days: u16) -> anyhow::Result<Self> {
        let today = Offset::UTC.to_datetime(Timestamp::now()).date();
        Ok(Self {
            from: today.checked_sub(1.day())?,
            until: today.checked_add(i32::from(days).days())?,
        })
    }
}

/// Fills in common name, validity and serial number. The caller adds the purpose.
pub(super) fn blank(common_name: &str, validity: Validity) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::default();
    let midnight = |date: civil::Date| {
        let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
        rcgen::date_time_ymd(date.year().into(), month, day)
    };
    params.not_before = midnight(validity.from);
    params.not_after = midnight(validity.until);
    params.serial_number = Some(SerialNumber::from_slice(&serial()?));
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    Ok(params)
}

/// Draws a serial number of 128 bits, of which 126 are random. The first two are `01`, so that the
/// number is positive and always has its 16 octets (RFC 5280, 4.1.2.2).
fn serial() -> anyhow::Result<[u8; 16]> {
    let mut serial = [0; 16];
    SystemRandom::new()
        .fill(&mut serial)
        .map_err(|_| anyhow::anyhow!("the system has no random numbers"))?;
    serial[0] = serial[0] & 0x3f | 0x40;
    Ok(serial)
}

//! The extensions of a `ClientHello` that the relay reads.

use std::net::IpAddr;

use super::reader::HelloReader;
use super::{MAX_LISTED, NotTls, TlsVersion};
use crate::authority::{DnsName, Host, ServerName};

/// Reads `server_name` (RFC 6066, 3): a list with exactly one entry, a host name.
///
/// Anything else is `Invalid`, a name that equals no target. It isn't refused here, so that the
/// trail tells what was wrong.
pub(super) fn server_name(data: &[u8]) -> ServerName {
    let host = || {
        let mut extension = HelloReader(data);
        let mut list = HelloReader(extension.vector16().ok()?);
        extension.finish().ok()?;
        let kind = list.u8().ok()?;
        let name = list.vector16().ok()?;
        list.finish().ok()?;
        let text = std::str::from_utf8(name).ok()?;
        if kind != HOST_NAME {
            return None;
        }
        match text.parse::<IpAddr>() {
            Ok(address) => Some(Host::Literal(address)),
            Err(_) => text.parse::<DnsName>().ok().map(Host::Name),
        }
    };
    host().map_or(ServerName::Invalid, ServerName::Host)
}

/// Reads `application_layer_protocol_negotiation` (RFC 7301, 3.1).
pub(super) fn protocols(data: &[u8]) -> Result<Vec<Box<str>>, NotTls> {
    let mut extension = HelloReader(data);
    let mut list = HelloReader(extension.vector16()?);
    extension.finish()?;
    if list.is_empty() {
        return Err(NotTls("ALPN offers at least one protocol"));
    }
    let mut kept = Vec::new();
    while !list.is_empty() {
        let name = list.vector8()?;
        if name.is_empty() {
            return Err(NotTls("an ALPN protocol has a name"));
        }
        if kept.len() < MAX_LISTED {
            kept.push(name.escape_ascii().to_string().into_boxed_str());
        }
    }
    Ok(kept)
}

/// Reads `supported_versions` (RFC 8446, 4.2.1).
pub(super) fn versions(data: &[u8]) -> Result<Vec<TlsVersion>, NotTls> {
    let mut extension = HelloReader(data);
    let mut list = HelloReader(extension.vector8()?);
    extension.finish()?;
    if list.is_empty() {
        return Err(NotTls("supported_versions has at least one version"));
    }
    let mut kept = Vec::new();
    while !list.is_empty() {
        let version = TlsVersion(list.u16()?);
        if !version.is_grease() && kept.len() < MAX_LISTED {
            kept.push(version);
        }
    }
    Ok(kept)
}

/// The only `NameType` that RFC 6066 has.
pub(super) const HOST_NAME: u8 = 0;

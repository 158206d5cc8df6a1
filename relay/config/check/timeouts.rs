//! `[timeouts]`: how long each stage may take.

use std::time::Duration;

use callhome_settings::{Findings, Text, Timeout};

use crate::config::file::TimeoutsTable;
use crate::server::Timeouts;

pub(in crate::config) fn timeouts(file: &TimeoutsTable, findings: &mut Findings) -> Timeouts {
    let mut timeout =
        |text: &Option<Text<Timeout>>, default| findings.read_or(text.as_ref(), Timeout(default)).0;
    Timeouts {
        proxy_header: timeout(&file.proxy_header, Duration::from_secs(5)),
        tls_handshake: timeout(&file.tls_handshake, Duration::from_secs(10)),
        request_head: timeout(&file.request_head, Duration::from_secs(10)),
        client_hello: timeout(&file.client_hello, Duration::from_secs(10)),
        connect: timeout(&file.connect, Duration::from_secs(10)),
        idle: timeout(&file.idle, Duration::from_mins(10)),
        half_closed: timeout(&file.half_closed, Duration::from_mins(2)),
        lifetime: timeout(&file.lifetime, Duration::from_hours(24)),
        tcp_user: timeout(&file.tcp_user, Duration::from_mins(2)),
        keepalive: timeout(&file.keepalive, Duration::from_mins(1)),
        drain: findings.read_or(file.drain.as_ref(), Duration::from_secs(30)),
    }
}

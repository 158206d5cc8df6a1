//! What `check` makes of the certificate that a server shows.

use std::sync::atomic::Ordering;

use jiff::SignedDuration;
use rcgen::date_time_ymd;

use super::{Ca, HOST, Https, check_with};

#[tokio::test]
async fn a_ca_of_this_machine_reads_as_inspection_and_the_walk_goes_on() {
    let ca = Ca::named("Corp Inspection CA");
    let server = Https::start(ca.good()).await;
    let ran = check_with(&server.destination(), &[], Some(&ca)).await;
    assert_eq!(ran.statuses(), ["ok", "ok", "ok", "warn", "ok", "ok"]);
    ran.has("name", "127.0.0.1 (loopback), from the configuration");
    ran.has("ranges", "inside 127.0.0.0/8");
    ran.has("tcp", &server.address.to_string());
    ran.has("tls", "TLS 1.3 in ");
    ran.has("tls", "SNI billing.example");
    ran.has(
        "tls",
        "inspected by a locally trusted CA: Corp Inspection CA",
    );
    ran.has("tls", "days left");
    ran.has("http", "HEAD / answered 403");
    assert!(ran.out.contains("relay's own path"), "{}", ran.out);
    assert!(
        ran.out
            .ends_with("0 ok, 1 with warnings, 0 failed, 0 not walked\n")
    );
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn a_ca_that_nobody_trusts_is_named_and_gets_no_request() {
    let ca = Ca::named("Who Is This");
    let server = Https::start(ca.good()).await;
    let other = Ca::named("Somebody Else");
    // The check fails both with the roots of another CA and on a machine without any.
    for trusted in [Some(&other), None] {
        let ran = check_with(&server.destination(), &[], trusted).await;
        let rootless = ran.out.contains("this machine has no root certificates");
        assert_eq!(rootless, trusted.is_none(), "{}", ran.out);
        assert_eq!(ran.statuses(), ["ok", "ok", "ok", "FAIL", "skip", "skip"]);
        ran.has(
            "tls",
            "not publicly trusted: interception or a private CA, compare the issuer Who Is This",
        );
        assert!(ran.out.contains("        next "), "{}", ran.out);
        assert_eq!(ran.code, Some(1));
    }
    assert_eq!(server.requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn faults_of_a_certificate_are_told_apart() {
    let ca = Ca::named("The CA");
    let expired = ca.issue(HOST, |it| it.not_after = date_time_ymd(2020, 3, 4));
    let early = ca.issue(HOST, |it| it.not_before = date_time_ymd(2200, 3, 4));
    let foreign = ca.issue("portal.example", |_| ());
    for (config, expected) in [
        (expired, "expired on 2020-03-04T00:00:00Z"),
        (early, "isn't valid before 2200-03-04T00:00:00Z"),
        (foreign, "is for portal.example, not for billing.example"),
    ] {
        let server = Https::start(config).await;
        let ran = check_with(&server.destination(), &[], Some(&ca)).await;
        ran.has("tls", expected);
        ran.has("tls", "(issuer The CA)");
        assert_eq!(ran.hop("http"), "skip not reached");
        assert_eq!(ran.code, Some(1));
    }
}

#[tokio::test]
async fn a_clock_two_hours_off_is_a_warning() {
    let ca = Ca::named("The CA");
    let ahead = SignedDuration::from_hours(2);
    let server = Https::start_ahead(ca.good(), ahead).await;
    let ran = check_with(&server.destination(), &[], Some(&ca)).await;
    ran.has("clock", "warn 7");
    ran.has("clock", " s behind the answer's Date");
    assert_eq!(ran.code, Some(0));
}

//! What clients do, and what is said of them then.

use super::*;

#[test]
fn new_and_never_tries() {
    assert_is(zvm(Relay::of_zvm(), day(2.9)), State::New, "");
    assert_is(zvm(Relay::of_zvm(), day(3.0)), State::Never, "no try since");
    assert_is(
        zvm(Relay::of_zvm(), day(15.0)),
        State::Overdue,
        "no try since",
    );
}

#[test]
fn new_tries_and_fails() {
    let mut relay = Relay::of_zvm();
    for minutes in 0..3 {
        relay.failed(at(2.0 + f64::from(minutes) / 60.0), "connection_timeout");
    }
    assert_is(
        zvm(relay, at(2.1)),
        State::Failing,
        "allowed, and failed: 3 times since 2026-11-01 02:00:00Z, the last at 2026-11-01 02:02:00Z, connection_timeout, to ch3.zerto.com",
    );
}

#[test]
fn renamed_after_twelve_days_of_silence() {
    let mut relay = Relay::of_zvm();
    relay.upload(day(0.5));
    let new = with(listed("zvm-new", day(12.5)), "formerly", json!(["zvm"]));
    relay.inventory(day(12.5), &[new]);
    relay.runs(day(15.5));
    let all = facts(&[&relay], day(15.5));
    assert_eq!(all.len(), 1, "the old name is no row: {all:#?}");
    assert_eq!(
        (all[0].name.as_str(), all[0].entered),
        ("zvm-new", day(0.0))
    );
    assert_is(judged(&all[0], day(15.5)), State::Overdue, "no try since");
    // The configuration may forget the old name.
    relay.inventory(day(15.6), &[listed("zvm-new", day(12.5))]);
    assert_eq!(facts(&[&relay], day(15.6))[0].deadline(), day(15.5));
}

#[test]
fn renamed_at_one_relay_of_two_first() {
    let mut one = Relay::of_zvm();
    let mut two = Relay::new("t-2", "dmz-2");
    two.inventory(day(0.0), &[listed("zvm", day(0.0))]);
    let new = with(listed("zvm-new", day(2.0)), "formerly", json!(["zvm"]));
    one.inventory(day(2.0), &[new]);
    two.upload(day(2.5));
    for relays in [[&one, &two], [&two, &one]] {
        let all = facts(&relays, day(2.6));
        assert_eq!(all.len(), 1, "{all:#?}");
        assert_eq!(all[0].name, "zvm-new");
        assert_eq!(all[0].upload.as_ref().unwrap().at, day(2.5));
    }
}

#[test]
fn moved_to_another_relay() {
    let mut old = Relay::of_zvm();
    old.daily(0, 5).inventory(day(5.5), &[]);
    let mut new = Relay::new("t-2", "dmz-2");
    new.inventory(day(5.6), &[listed("zvm", day(5.6))]);
    let now = day(6.9);
    new.runs(now);
    // The old relay isn't asked any more, so its silence doesn't matter.
    for relays in [[&old, &new], [&new, &old]] {
        let facts = &facts(&relays, now)[0];
        assert_eq!(
            (facts.entered, facts.upload.as_ref().unwrap().at),
            (day(0.0), day(5.0))
        );
        assert_eq!(facts.relays.len(), 1);
        assert_is(judged(facts, now), State::Quiet, "no try since");
    }
    new.upload(day(7.0)).runs(day(7.1));
    let facts = &facts(&[&old, &new], day(7.1))[0];
    assert_is(judged(facts, day(7.1)), State::Ok, "");
}

#[test]
fn removed_and_back_after_ten_days() {
    let mut relay = Relay::of_zvm();
    relay.upload(day(0.5)).inventory(day(2.0), &[]);
    let mut removed = Relay::of_zvm();
    removed.upload(day(0.5)).inventory(day(2.0), &[]);
    assert_is(
        zvm(removed, day(3.0)),
        State::Removed,
        "in no inventory since 2026-11-03",
    );
    relay.inventory(day(12.0), &[listed("zvm", day(12.0))]);
    let facts = of("zvm", std::slice::from_mut(&mut relay), day(12.1));
    assert_eq!((facts.entered, facts.deadline()), (day(0.0), day(15.5)));
    assert_is(judged(&facts, day(12.1)), State::AtRisk, "no try since");
}

#[test]
fn removed_and_back_after_twenty_five_days() {
    let mut relay = Relay::of_zvm();
    relay.upload(day(0.5)).inventory(day(2.0), &[]);
    relay.runs(day(31.9));
    assert_eq!(facts(&[&relay], day(31.9)).len(), 1);
    assert!(
        facts(&[&relay], day(32.1)).is_empty(),
        "it is shown for 30 days"
    );
    relay.inventory(day(27.0), &[listed("zvm", day(27.0))]);
    let facts = of("zvm", std::slice::from_mut(&mut relay), day(27.1));
    assert_eq!((facts.entered, &facts.upload), (day(27.0), &None));
    assert_is(judged(&facts, day(27.1)), State::New, "");
}

#[test]
fn dropped_by_a_mistake_in_a_reload_for_an_hour() {
    let mut relay = Relay::of_zvm();
    relay.upload(day(0.0)).inventory(at(330.0), &[]);
    relay.inventory(at(331.0), &[listed("zvm", at(331.0))]);
    let facts = of("zvm", std::slice::from_mut(&mut relay), at(340.0));
    assert_eq!(facts.deadline(), day(15.0));
    assert_is(judged(&facts, at(340.0)), State::AtRisk, "no try since");
}

#[test]
fn silent_without_expect_every() {
    let unknown = || with(listed("zvm", day(0.0)), "expect_every", Value::Null);
    let mut relay = Relay::new("t-1", "dmz-1");
    relay.inventory(day(0.0), &[unknown()]).daily(0, 4);
    let facts = of("zvm", std::slice::from_mut(&mut relay), day(7.0));
    assert_eq!(facts.period, Period::ASSUMED, "four gaps show no period");
    assert_eq!(
        state(&facts, day(7.75)),
        State::Unknown,
        "the relay is silent by then"
    );
    let mut relay = Relay::new("t-1", "dmz-1");
    relay.inventory(day(0.0), &[unknown()]).daily(0, 5);
    // Several tunnels of one visit are one.
    relay
        .upload(at(5.0 * 24.0 + 0.1))
        .upload(at(5.0 * 24.0 + 0.2));
    let facts = of("zvm", std::slice::from_mut(&mut relay), day(6.5));
    assert_eq!(facts.period.source, PeriodSource::Learned);
    assert_eq!(facts.period.every, SignedDuration::from_hours(24));
    assert_is(judged(&facts, day(6.5)), State::Quiet, "no try since");
}

#[test]
fn a_learned_period_is_the_longest_of_the_last_twenty_gaps_up_to_five_days() {
    let learned = |gaps: &[f64]| {
        let mut relay = Relay::new("t-1", "dmz-1");
        relay.inventory(
            day(0.0),
            &[with(listed("zvm", day(0.0)), "expect_every", Value::Null)],
        );
        let mut time = 0.0;
        relay.upload(at(time));
        for gap in gaps {
            time += gap;
            relay.upload(at(time));
        }
        of("zvm", std::slice::from_mut(&mut relay), at(time)).learned
    };
    let hours = |hours| Some(SignedDuration::from_hours(hours));
    assert_eq!(learned(&[24.0, 24.0, 48.0, 24.0, 24.0]), hours(48));
    assert_eq!(learned(&[24.0; 4]), None);
    assert_eq!(learned(&[240.0, 24.0, 24.0, 24.0, 24.0]), hours(120));
    assert_eq!(learned(&[0.5; 20]), hours(1));
    let mut twenty_one = vec![100.0];
    twenty_one.extend([24.0; 20]);
    assert_eq!(learned(&twenty_one), hours(24));
    assert_eq!(learned(&twenty_one[..20]), hours(100));
}

#[test]
fn healthy_every_thirty_days() {
    let mut relay = Relay::new("t-1", "dmz-1");
    relay.inventory(
        day(0.0),
        &[with(listed("zvm", day(0.0)), "expect_every", 30 * 86_400)],
    );
    relay.upload(day(1.0)).upload(day(31.0));
    let facts = of("zvm", std::slice::from_mut(&mut relay), day(59.0));
    assert_is(judged(&facts, day(59.0)), State::Ok, "");
    assert_eq!(facts.days_left(day(59.0)), Some(17));
}

/// The version in the configuration was raised before the machine's, or after it.
#[test]
fn another_version_than_the_configurations() {
    for (version, destination, host) in [
        ("9.7", "billing-8", "autologs.zerto.com"),
        ("8.5", "billing-9", "ch3.zerto.com"),
    ] {
        let mut relay = Relay::new("t-1", "dmz-1");
        relay.inventory(
            day(0.0),
            &[with(listed("zvm", day(0.0)), "version", version)],
        );
        relay.upload(day(1.0));
        let other = json!({
            "destination": destination, "target": {"host": host}, "billing": false, "bytes_up": 9000,
        });
        relay.session("tunnel_closed", day(2.0), &other);
        relay.session("tunnel_closed", day(3.0), &other);
        let facts = of("zvm", std::slice::from_mut(&mut relay), day(3.0));
        assert_is(
            judged(&facts, day(3.0)),
            State::Quiet,
            &format!("the billing host of another version: {host}, the last time at 2026-11-04"),
        );
        assert!(cause(&facts, day(3.0)).next_step().contains("`version`"));
    }
}

#[test]
fn uploads_by_two_relays_in_turn() {
    let (mut one, mut two) = (Relay::of_zvm(), Relay::new("t-2", "dmz-2"));
    two.inventory(
        day(0.0),
        &[with(listed("zvm", day(0.0)), "expect_every", Value::Null)],
    );
    for n in 0..6 {
        one.upload(day(f64::from(2 * n)));
        two.upload(day(f64::from(2 * n + 1)));
    }
    two.failed(day(9.5), "dns_failed");
    let now = day(11.5);
    one.runs(now);
    two.runs(now);
    for relays in [[&one, &two], [&two, &one]] {
        let facts = &facts(&relays, now)[0];
        assert_is(judged(facts, now), State::Ok, "");
        assert_eq!(facts.upload.as_ref().unwrap().relay, "dmz-2");
        assert_eq!(facts.learned, Some(SignedDuration::from_hours(24)));
        assert_eq!(
            facts.period.source,
            PeriodSource::Known,
            "the shortest holds"
        );
        assert_eq!(facts.contradictions.len(), 1);
        let said = &facts.contradictions[0];
        assert!(
            said.contains("86400s at dmz-1") && said.contains("none at dmz-2"),
            "{said}"
        );
    }
}

#[test]
fn tunnels_without_an_upload() {
    for (upload, words) in [
        ("small", "its tunnels carry less than an upload has"),
        ("distrusted", "it leaves when it sees the certificate"),
        ("unanswered", "what it sends gets no answer"),
    ] {
        let mut relay = Relay::of_zvm();
        relay.upload(day(1.0));
        for hour in 0..3 {
            relay.closed(at(48.0 + f64::from(hour)), upload);
        }
        assert_is(zvm(relay, at(50.0)), State::Failing, words);
    }
    // curl: a GET has about 220 bytes after the hello, and a POST of 2 KiB looks like an upload.
    let mut relay = Relay::of_zvm();
    relay.closed(at(1.0), "small").closed(at(2.0), "probable");
    assert_is(zvm(relay, at(3.0)), State::Ok, "");
}

#[test]
fn the_relay_was_down_for_three_days() {
    let mut relay = Relay::of_zvm();
    relay
        .daily(0, 2)
        .event("relay_stopped", at(50.0), &json!({}));
    let silent = facts(&[&relay], at(56.0));
    assert_is(
        judged(&silent[0], at(56.0)),
        State::Unknown,
        "the trail of dmz-1 ends at",
    );
    let overdue = facts(&[&relay], day(20.0));
    assert_is(
        judged(&overdue[0], day(20.0)),
        State::Overdue,
        "the trail of dmz-1 ends at",
    );
    relay.event("relay_started", at(50.0 + 72.0), &json!({}));
    assert_is(
        zvm(relay, at(123.0)),
        State::Quiet,
        "its relay was down for 3d00h meanwhile",
    );

    // What the clock jumped while the relay was down for an hour isn't time that it was down.
    let mut relay = Relay::of_zvm();
    let step = json!({"data": {"seconds": 95 * 3600, "before_start": true}});
    relay
        .daily(0, 2)
        .event("relay_stopped", at(50.0), &json!({}))
        .event("clock_stepped", at(50.0 + 96.0), &step)
        .event("relay_started", at(50.0 + 96.0), &json!({}));
    assert_is(
        zvm(relay, at(147.0)),
        State::Quiet,
        "its relay was down for 1h00m meanwhile",
    );

    // Killed, it leaves no stop: the last record counts. The next start's first checkpoint doesn't.
    let mut relay = Relay::of_zvm();
    relay
        .daily(0, 2)
        .runs(at(48.4))
        .runs(at(49.0))
        .runs(at(121.0))
        .event("relay_started", at(121.0), &json!({}));
    assert_is(
        zvm(relay, at(123.0)),
        State::Quiet,
        "its relay was down for 3d00h meanwhile",
    );
}

/// Its last record may be of any time before now, so nothing it says makes a client look well.
#[test]
fn the_relay_is_dead_and_its_clock_was_ahead() {
    let mut relay = Relay::of_zvm();
    relay
        .upload(day(730.0))
        .event("relay_stopped", day(730.1), &json!({}));
    for now in [day(1.0), day(20.0)] {
        let facts = facts(&[&relay], now);
        assert_is(
            judged(&facts[0], now),
            State::Unknown,
            "ahead, so when its last records were written isn't known",
        );
    }
}

#[test]
fn pruned_before_it_was_read() {
    let mut relay = Relay::of_zvm();
    relay.upload(day(1.0)).runs(day(1.1));
    relay.seq += 500;
    let data = json!({"data": {"from": 4, "to": 503, "hash": "", "segments": 1, "bytes": 9}});
    relay.event("trail_pruned", day(2.0), &data).runs(day(2.1));
    assert_is(
        zvm(relay, day(2.2)),
        State::Unknown,
        "records of dmz-1 since then were deleted",
    );
    // What came since then says it again.
    let mut relay = Relay::of_zvm();
    relay.upload(day(1.0)).seq += 500;
    relay.upload(day(2.0)).upload(day(2.5));
    assert_is(zvm(relay, day(2.6)), State::Ok, "");
    // A gap that the relay declares is only told.
    let mut relay = Relay::of_zvm();
    relay.upload(day(1.0));
    let from = relay.seq;
    relay.seq += 10;
    let gap = json!({"data": {"from": from, "to": from + 9, "count": null, "cause": "power"}});
    relay.event("audit_gap", day(1.5), &gap);
    assert_is(
        zvm(relay, day(3.0)),
        State::Quiet,
        "records are missing, told at 2026-11-02 12:00:00Z",
    );
}

#[test]
fn killed_with_a_tunnel_open() {
    let opened = json!({"session": "a", "outcome": "open"});
    let lost = |upload: Value| json!({"session": "a", "outcome": "lost", "upload": upload, "bytes_up": 5000});
    // Nothing is known of its bytes: it was no upload, and isn't dated by the next start.
    let mut relay = Relay::of_zvm();
    relay
        .upload(day(0.5))
        .session("tunnel_opened", day(1.0), &opened);
    relay.event("relay_started", day(4.0), &json!({}));
    relay.session("tunnel_lost", day(4.0), &lost(Value::Null));
    let facts = of("zvm", std::slice::from_mut(&mut relay), day(4.1));
    assert_eq!(facts.upload.as_ref().unwrap().at, day(0.5));
    assert_is(
        judged(&facts, day(4.1)),
        State::Quiet,
        "the end of its tunnel of 2026-11-02 00:00:00Z wasn't recorded",
    );
    // Its last progress told of an upload.
    let mut relay = Relay::of_zvm();
    relay.session("tunnel_opened", day(1.0), &opened);
    relay.session("tunnel_progress", at(25.0), &lost("probable".into()));
    relay.event("relay_started", day(4.0), &json!({}));
    relay.session("tunnel_lost", day(4.0), &lost("probable".into()));
    let facts = of("zvm", std::slice::from_mut(&mut relay), day(4.1));
    assert_eq!(facts.upload.as_ref().unwrap().at, at(25.0));
    assert_eq!(facts.seen, Some(at(25.0)));
    // The trail that is read may begin behind the opening. Then its time isn't known at all.
    let mut relay = Relay::of_zvm();
    relay.session("tunnel_lost", day(4.0), &lost("probable".into()));
    let facts = of("zvm", std::slice::from_mut(&mut relay), day(4.1));
    assert_eq!(facts.upload, None);
}

#[test]
fn refused_at_a_harmless_destination_only() {
    let mut relay = Relay::of_zvm();
    relay.upload(day(1.0));
    for n in 0..5 {
        let members = json!({
            "target": {"host": "zapps.zerto.com"}, "destination": "licensing", "billing": false,
            "decision": "deny", "reason": "port_not_allowed",
        });
        relay.session("request_denied", at(25.0 + f64::from(n)), &members);
    }
    assert_is(zvm(relay, at(30.0)), State::Ok, "");
}

fn at_an_unlisted_name(relay: &mut Relay, time: Timestamp, host: &str) {
    let members = json!({
        "target": {"host": host}, "destination": null, "billing": null,
        "decision": "deny", "reason": "destination_not_allowed",
    });
    relay.session("request_denied", time, &members);
}

#[test]
fn refused_at_an_unlisted_name_of_the_vendors() {
    let mut relay = Relay::of_zvm();
    relay.upload(day(1.0));
    for n in 0..3 {
        at_an_unlisted_name(&mut relay, at(25.0 + f64::from(n)), "ch4.zerto.com");
    }
    let is = zvm(relay, at(27.5));
    assert_is(
        is,
        State::Refused,
        "a name on no list, which is perhaps its billing host: 3 times",
    );
    let mut relay = Relay::of_zvm();
    for n in 0..3 {
        at_an_unlisted_name(&mut relay, at(25.0 + f64::from(n)), "update.example.com");
    }
    assert_is(zvm(relay, at(27.5)), State::New, "");
    // A single try is no state, but a cause to look at.
    let mut relay = Relay::of_zvm();
    at_an_unlisted_name(&mut relay, at(25.0), "ch4.zerto.com");
    assert_is(zvm(relay, at(27.5)), State::New, "refused: once");
}

/// A machine that uploads although a name is refused doesn't need that name for it.
#[test]
fn a_name_that_was_refused_before_an_upload_too_isnt_the_billing_host() {
    let mut relay = Relay::of_zvm();
    for n in 0..40 {
        at_an_unlisted_name(&mut relay, at(n.into()), "zvm-control.api.zerto.com");
        if n % 24 == 12 {
            relay.upload(at(f64::from(n) + 0.5));
        }
    }
    assert_is(zvm(relay, at(40.0)), State::Ok, "");
}

#[test]
fn a_new_address() {
    let mut relay = Relay::of_zvm();
    relay.daily(0, 3);
    for n in 0..4 {
        let members = json!({
            "client": stranger("10.0.0.99"), "decision": "deny", "reason": "client_not_allowed",
        });
        relay.session("request_denied", at(96.0 + f64::from(n)), &members);
    }
    let now = at(103.0);
    relay.runs(now);
    let all = facts(&[&relay], now);
    let [client, found] = all.as_slice() else {
        panic!("{all:#?}");
    };
    assert_is(judged(client, now), State::Quiet, "no try since");
    assert!(found.found);
    assert_is(
        judged(found, now),
        State::Refused,
        "client_not_allowed, to ch3.zerto.com, from 10.0.0.99",
    );
    assert!(
        found.may_be(client, now),
        "it came when the next upload was due"
    );
    assert!(found.client_block().contains("sources = [\"10.0.0.99\"]"));
    // Listed, its history is the client's.
    let sources = json!(["10.0.0.1/32", "10.0.0.99/32"]);
    relay.inventory(now, &[with(listed("zvm", day(0.0)), "sources", sources)]);
    let all = facts(&[&relay], now);
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].addresses.len(), 2);
}

#[test]
fn an_expired_certificate() {
    let mut relay = Relay::of_zvm();
    relay.upload(day(1.0));
    let mut client = stranger("10.0.0.1");
    client["claimed"] = "zvm".into();
    for n in 0..3 {
        let members = json!({
            "client": client, "target": {"host": null, "port": null}, "destination": null,
            "billing": null, "decision": "deny", "reason": "certificate_expired",
        });
        relay.session("request_denied", at(26.0 + f64::from(n)), &members);
    }
    let facts = of("zvm", std::slice::from_mut(&mut relay), at(29.0));
    assert_is(
        judged(&facts, at(29.0)),
        State::Refused,
        "refused before it named a target",
    );
    assert_eq!(
        cause(&facts, at(29.0)).next_step(),
        "renew the certificate of the machine"
    );
}

#[test]
fn report_only_with_the_billing_host_on_no_list() {
    let mut relay = Relay::of_zvm();
    for n in 0..4 {
        let members = json!({
            "target": {"host": "ch4.zerto.com"}, "destination": null, "billing": null,
            "enforced": false, "bytes_up": 9000, "bytes_down": 4000,
        });
        relay.session("tunnel_closed", day(n.into()), &members);
    }
    assert_is(
        zvm(relay, day(3.5)),
        State::Never,
        "a name on no list, which only report-only lets through: ch4.zerto.com",
    );
}

#[test]
fn one_tunnel_open_for_a_day_with_uploads_inside() {
    let session = |bytes: u64| json!({"session": "a", "upload": "probable", "bytes_up": bytes, "bytes_down": 9});
    let mut relay = Relay::of_zvm();
    relay.session("tunnel_opened", at(1.0), &json!({"session": "a"}));
    for hour in 2..25 {
        // It uploads in the hours 2 and 12, and is open without a byte up otherwise.
        let bytes = if hour < 12 { 5000 } else { 10_000 };
        relay.session("tunnel_progress", at(hour.into()), &session(bytes));
    }
    let now = at(24.5);
    let facts = of("zvm", std::slice::from_mut(&mut relay), now);
    let upload = facts.upload.unwrap();
    assert_eq!((upload.at, upload.opened), (at(12.0), at(1.0)));
    // A shorter one is later, and the end of the long one takes nothing back.
    relay.session(
        "tunnel_closed",
        at(24.6),
        &json!({"upload": "probable", "duration_ms": 60_000.0}),
    );
    relay.session("tunnel_closed", at(25.0), &session(10_000));
    let facts = of("zvm", std::slice::from_mut(&mut relay), at(25.1));
    assert_eq!(facts.upload.unwrap().at, at(24.6 - 1.0 / 60.0));
}

#[test]
fn an_upload_over_the_months_end() {
    let mut relay = Relay::of_zvm();
    let time = "2026-12-01T00:10:00Z".parse().unwrap();
    let members = json!({"upload": "probable", "duration_ms": 1_200_000.0});
    relay.session("tunnel_closed", time, &members);
    let facts = of("zvm", std::slice::from_mut(&mut relay), time);
    assert_eq!(facts.ready(time), Some(Ready::Amber));
    relay.upload(plus(time, SECOND));
    let facts = of("zvm", std::slice::from_mut(&mut relay), plus(time, SECOND));
    assert_eq!(facts.ready(plus(time, SECOND)), Some(Ready::Green));
}

#[test]
fn three_machines_behind_one_address() {
    let mut relay = Relay::new("t-1", "dmz-1");
    let names = ["a", "b", "c"];
    let clients =
        names.map(|name| with(listed(name, day(0.0)), "certificate_names", json!([name])));
    relay.inventory(day(0.0), &clients);
    for name in ["a", "b"] {
        relay.session(
            "tunnel_closed",
            day(1.0),
            &json!({"client": {"name": name}, "upload": "probable"}),
        );
    }
    // What is counted by the address alone is of none of them.
    let counted = json!({"data": {"address": "10.0.0.1", "since": "", "count": 9, "reasons": {"rate_limited": 9}}});
    relay.event("refusals", day(1.1), &counted);
    // What is counted under a name is of that one.
    let counted_by_name = json!({"data": {
        "address": "10.0.0.1", "since": "", "count": 9, "reasons": {"rate_limited": 9}, "client": "b",
        "destinations": [{"destination": "billing-9", "reason": "rate_limited", "count": 9}],
    }});
    relay
        .event("refusals", day(1.1), &counted_by_name)
        .runs(day(1.2));
    let all = facts(&[&relay], day(1.2));
    let states: Vec<_> = all.iter().map(|facts| state(facts, day(1.2))).collect();
    assert_eq!(states, [State::Ok, State::Refused, State::New]);
}

#[test]
fn refusals_that_were_counted_together_are_tries() {
    let judge = |data: Value, now| {
        let mut relay = Relay::of_zvm();
        relay
            .upload(day(1.0))
            .event("refusals", at(26.0), &json!({"data": data}));
        zvm(relay, now)
    };
    let counted = |destination: Value, reason: &str| {
        json!({
            "address": "10.0.0.1", "since": "", "count": 40, "reasons": {reason: 40}, "client": "zvm",
            "destinations": [{"destination": destination, "reason": reason, "count": 40}],
        })
    };
    let is = judge(counted("billing-9".into(), "sni_mismatch"), at(27.0));
    assert_is(is, State::Refused, "refused: 40 times");
    let is = judge(counted("billing-9".into(), "connection_timeout"), at(27.0));
    assert_is(is, State::Failing, "allowed, and failed: 40 times");
    let is = judge(counted("billing-8".into(), "sni_mismatch"), day(3.0));
    assert_is(is, State::Quiet, "another version");
    let is = judge(counted("licensing".into(), "sni_mismatch"), at(27.0));
    assert_is(is, State::Ok, "");
    let mut claimed = counted(Value::Null, "destination_not_allowed");
    claimed["client"] = Value::Null;
    claimed["claimed"] = "zvm".into();
    claimed["targets"] = json!({"ch3.zerto.com:443": 9, "ch4.zerto.com:443": 40});
    let is = judge(claimed, at(27.0));
    assert_is(is, State::Refused, "perhaps its billing host: 40 times");
}

#[test]
fn one_dns_blip_and_then_no_try() {
    let mut relay = Relay::of_zvm();
    relay.upload(day(1.0)).failed(day(2.0), "dns_failed");
    assert_is(
        zvm(relay, day(2.3)),
        State::Quiet,
        "no try since this one: allowed, and failed: once, at 2026-11-03 00:00:00Z, dns_failed",
    );
}

#[test]
fn a_black_hole_after_the_handshake() {
    let mut relay = Relay::of_zvm();
    relay
        .upload(day(1.0))
        .denied(at(30.0), "sni_mismatch")
        .closed(at(48.0), "unanswered")
        .closed(at(48.6), "unanswered");
    assert_is(
        zvm(relay, at(48.7)),
        State::Failing,
        "gets no answer: 2 times",
    );
}

#[test]
fn exempt_at_both_relays_or_at_none() {
    let exempt = with(listed("zvm", day(0.0)), "calls_home", false);
    let mut relay = Relay::new("t-1", "dmz-1");
    relay.inventory(day(0.0), std::slice::from_ref(&exempt));
    assert_is(zvm(relay, day(20.0)), State::Exempt, "calls_home = false");
    let mut one = Relay::new("t-1", "dmz-1");
    one.inventory(day(0.0), &[exempt]).runs(day(20.0));
    let mut two = Relay::new("t-2", "dmz-2");
    two.inventory(day(0.0), &[listed("zvm", day(0.0))])
        .runs(day(20.0));
    let facts = &facts(&[&one, &two], day(20.0))[0];
    assert_is(judged(facts, day(20.0)), State::Overdue, "");
    assert!(facts.contradictions[0].starts_with("calls_home: false at dmz-1"));
}

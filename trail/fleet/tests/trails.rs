//! Clocks that were wrong, old trails, new trails, strangers and addresses.

use super::*;

const YEARS: f64 = 2.0 * 365.0;

#[test]
fn a_clock_two_years_ahead_for_an_hour() {
    let mut relay = Relay::of_zvm();
    relay.upload(day(1.0)).upload(day(YEARS + 2.0));
    let step = |seconds: f64| json!({"data": {"seconds": seconds}});
    relay.event("clock_stepped", day(YEARS + 2.0), &step(YEARS * 86_400.0));
    relay
        .runs(at(48.9))
        .event("clock_stepped", at(49.0), &step(-YEARS * 86_400.0));
    let (mut back, mut ahead) = (relay, Relay::of_zvm());
    let facts = of("zvm", std::slice::from_mut(&mut back), day(40.0));
    assert_eq!(facts.upload.as_ref().unwrap().at, at(48.9));
    assert_is(judged(&facts, day(40.0)), State::Overdue, "");
    // A long tunnel that ends later takes nothing back.
    back.upload(day(39.0));
    let long = json!({"upload": "probable", "duration_ms": 86_400_000.0});
    back.session("tunnel_closed", day(39.5), &long);
    let facts = of("zvm", std::slice::from_mut(&mut back), day(40.0));
    assert_eq!(facts.upload.as_ref().unwrap().at, day(39.0));
    // While it is ahead, the clock of the reader shows by how much.
    ahead
        .upload(day(1.0))
        .upload(day(YEARS + 2.0))
        .runs(day(YEARS + 2.1));
    let facts = &super::facts(&[&ahead], day(2.1))[0];
    assert_eq!(facts.upload.as_ref().unwrap().at, day(2.0));
    assert_eq!(
        facts.relays[0].ahead,
        Some(SignedDuration::from_hours(730 * 24))
    );
}

#[test]
fn a_clock_46_days_back_while_the_relay_was_down() {
    let step = |seconds: f64| json!({"data": {"seconds": seconds, "before_start": true}});
    let mut relay = Relay::of_zvm();
    relay
        .inventory(day(50.0), &[listed("zvm", day(0.0))])
        .daily(50, 60);
    relay.event("relay_stopped", at(60.1 * 24.0), &json!({}));
    relay.event("relay_started", at(14.2 * 24.0), &json!({}));
    relay.event("clock_stepped", day(14.2), &step(-46.0 * 86_400.0));
    // The last upload in the trail's order is what counts, however it is dated.
    relay.upload(day(15.0)).runs(day(15.1));
    let wrong = &facts(&[&relay], day(61.1))[0];
    assert_eq!(wrong.upload.as_ref().unwrap().at, day(15.0));
    assert_is(
        judged(wrong, day(61.1)),
        State::Overdue,
        "the trail of dmz-1 ends at 2026-11-16",
    );
    // Set right, the time is behind what it was before: that was right too.
    relay.runs(day(61.2));
    let right = &facts(&[&relay], day(61.2))[0];
    assert_eq!(
        right.upload.as_ref().unwrap().at,
        day(60.0),
        "the upload on the wrong day was later"
    );
    assert_is(judged(right, day(61.2)), State::Late, "");
    relay.upload(day(61.5)).runs(day(61.6));
    assert_is(
        judged(&facts(&[&relay], day(61.6))[0], day(61.6)),
        State::Ok,
        "",
    );
}

#[test]
fn a_trail_of_an_older_relay_is_read_and_says_so() {
    let mut relay = Relay::new("t-1", "dmz-1");
    for n in 0..30 {
        let old = json!({"billing": null, "bytes_up": 5000, "bytes_down": 100});
        relay.session("tunnel_closed", day(n.into()), &old);
    }
    let facts_ = of("zvm", std::slice::from_mut(&mut relay), day(29.1));
    assert!(facts_.found && !facts_.has_inventory);
    assert_is(
        judged(&facts_, day(29.1)),
        State::Unknown,
        "no inventory tells whether it is expected; its last tunnel was to ch3.zerto.com, the last time at 2026-11-30",
    );
    // After an upgrade the same trail has an inventory.
    relay
        .inventory(day(30.0), &[listed("zvm", day(30.0))])
        .runs(day(31.0));
    let all = facts(&[&relay], day(31.0));
    assert_eq!(all.len(), 1);
    assert_is(judged(&all[0], day(31.0)), State::New, "");
}

#[test]
fn a_relay_that_begins_a_new_trail_is_one_relay() {
    let mut old = Relay::of_zvm();
    old.inventory(
        day(0.5),
        &[listed("zvm", day(0.0)), listed("gone", day(0.0))],
    );
    old.daily(1, 3);
    let mut new = Relay::new("t-2", "dmz-1");
    new.inventory(day(3.5), &[listed("zvm", day(3.5))])
        .runs(day(4.0));
    for relays in [[&old, &new], [&new, &old]] {
        let all = facts(&relays, day(4.0));
        let [gone, zvm] = all.as_slice() else {
            panic!("{all:#?}");
        };
        assert_is(
            judged(gone, day(4.0)),
            State::Removed,
            "since 2026-11-04 12:00:00Z",
        );
        assert_eq!((zvm.entered, zvm.relays.len()), (day(0.0), 1));
        assert_is(judged(zvm, day(4.0)), State::Ok, "");
    }
}

#[test]
fn a_stranger_that_uploads_is_found() {
    let mut relay = Relay::of_zvm();
    relay.upload(day(1.0));
    let stranger = |address: &str| json!({"client": stranger(address), "upload": "probable"});
    relay.session("tunnel_closed", day(1.0), &stranger("10.9.9.9"));
    let other = json!({"client": super::stranger("10.8.8.8"), "billing": false, "destination": "licensing"});
    relay.session("tunnel_closed", day(1.0), &other);
    relay.runs(day(1.1));
    let all = facts(&[&relay], day(1.1));
    let [_, found] = all.as_slice() else {
        panic!("{all:#?}");
    };
    assert!(found.found);
    assert_eq!((found.name.as_str(), found.entered), ("10.9.9.9", day(1.0)));
    assert_is(judged(found, day(1.1)), State::Ok, "");
    assert_eq!(
        found.client_block(),
        "[[client]]\nname = \"zvm-10-9-9-9\"\nrole = \"zvm\"    # or zca, zcm\nsources = [\"10.9.9.9\"]\n"
    );
    relay.runs(day(16.0));
    let all = facts(&[&relay], day(16.0));
    assert_is(judged(&all[1], day(16.0)), State::Overdue, "");
    // Listing it doesn't make it new.
    let block = with(
        listed("zvm-2", day(16.0)),
        "sources",
        json!(["10.9.9.9/32"]),
    );
    relay.inventory(day(16.0), &[listed("zvm", day(0.0)), block]);
    let all = facts(&[&relay], day(16.0));
    assert_is(judged(&all[1], day(16.0)), State::Overdue, "");
}

#[test]
fn a_flood_of_strangers_takes_bounded_memory() {
    let mut relay = Relay::of_zvm();
    let members = json!({"client": stranger("10.9.9.9"), "upload": "probable"});
    relay.session("tunnel_closed", at(1.0), &members);
    for n in 0..3000_u32 {
        let address = format!("10.1.{}.{}", n / 250, n % 250);
        let members = json!({"client": stranger(&address), "decision": "deny", "reason": "client_not_allowed"});
        relay.session("request_denied", at(2.0), &members);
    }
    let all = facts(&[&relay], at(3.0));
    assert!(all.len() <= 1026, "{}", all.len());
    assert!(
        all.iter().any(|facts| facts.name == "10.9.9.9"),
        "what uploads is kept"
    );
}

#[test]
fn one_address_of_a_network_doesnt_speak_for_all() {
    let mut relay = Relay::new("t-1", "dmz-1");
    let network = with(listed("zvm", day(0.0)), "sources", json!(["10.5.0.0/16"]));
    relay.inventory(day(0.0), &[network]);
    for n in 0..10 {
        for address in 1..=4 {
            // Machine 3 stops on day 2, and machine 4 never uploads.
            if address == 3 && n > 2 {
                continue;
            }
            let upload = if address == 4 { "small" } else { "probable" };
            let client = json!({"address": format!("10.5.0.{address}")});
            relay.session(
                "tunnel_closed",
                day(n.into()),
                &json!({"client": client, "upload": upload}),
            );
        }
    }
    let now = day(9.5);
    let facts = of("zvm", std::slice::from_mut(&mut relay), now);
    assert_is(judged(&facts, now), State::Ok, "");
    let machines: Vec<_> = facts.machines(now).map(|it| facts.of_address(it)).collect();
    let states: Vec<_> = machines.iter().map(|it| state(it, now)).collect();
    assert_eq!(states, [State::Ok, State::Ok, State::Quiet, State::Never]);
    assert_eq!(machines[2].deadline(), day(17.0));
    // A machine that was taken away isn't shown for ever.
    assert_eq!(facts.machines(day(46.9)).count(), 4);
    assert_eq!(facts.machines(day(47.1)).count(), 3);
}

#[test]
fn two_addresses_of_one_machine_are_one() {
    let mut relay = Relay::new("t-1", "dmz-1");
    let two = with(
        listed("zvm", day(0.0)),
        "sources",
        json!(["10.0.0.1/32", "fd00::1/128"]),
    );
    relay.inventory(day(0.0), &[two]).upload(day(1.0));
    relay.session(
        "tunnel_closed",
        day(5.0),
        &json!({"client": {"address": "fd00::1"}, "upload": "probable"}),
    );
    let facts = of("zvm", std::slice::from_mut(&mut relay), day(5.1));
    let uploads: Vec<_> = facts.addresses.iter().map(|it| it.upload).collect();
    assert_eq!(uploads, [Some(day(1.0)), Some(day(5.0))]);
    assert_eq!(facts.machines(day(5.1)).count(), 0);
}

#[test]
fn a_relay_that_seals_seldom_may_be_silent_for_longer() {
    let mut relay = Relay::of_zvm();
    let text = "name = \"dmz-1\"\n[audit]\nseal_every = \"6h\"\n";
    let data = json!({"policy": "", "source": "", "warnings": [], "digest": "d", "part": 1, "parts": 1, "text": text});
    relay
        .event("config_loaded", day(0.0), &json!({"data": data}))
        .upload(day(1.0));
    let silent = facts(&[&relay], day(1.0))[0].relays[0].silent_after;
    assert_eq!(silent, SignedDuration::from_hours(13));
}

#[test]
fn what_a_test_found_isnt_taken_for_another() {
    let mut relay = Relay::of_zvm();
    relay.daily(0, 3);
    // It came two days before the client went quiet.
    let members = json!({"client": stranger("10.0.0.99"), "upload": "probable"});
    relay.session("tunnel_closed", at(60.0), &members);
    let now = at(110.0);
    relay.runs(now);
    let all = facts(&[&relay], now);
    assert!(!all[1].may_be(&all[0], now));
}

use callhome_trail::{Client, Record, Text};

use super::counts::{EVERY, MAX_SAMPLES};
use super::*;

const PERIOD: Duration = Duration::from_hours(24);
const WALL: Timestamp = Timestamp::UNIX_EPOCH;

fn throttle() -> Throttle {
    Throttle::new(32 << 20, PERIOD)
}

fn listed(name: &str) -> Party {
    Party::Listed(name.into())
}

fn stranger(n: u32) -> Party {
    Party::stranger(n.to_be_bytes().into())
}

/// Counts one refusal, for a target if there is one.
fn count(throttle: &mut Throttle, party: &Party, why: &'static str, target: &str, now: Instant) {
    let address = match party {
        Party::Stranger(address) => *address,
        Party::Listed(_) => IpAddr::from([10, 0, 0, 1]),
    };
    let client = Client {
        address,
        port: 1,
        via: None,
        certificate: None,
        name: None,
        role: None,
        claimed: None,
    };
    let text = Text::default;
    let mut record = Record::of_session(text(), text(), text(), text(), client);
    if !target.is_empty() {
        record.target.sent(target.as_bytes());
    }
    throttle.count(party, &CountedRefusal::of(&record, address, why), WALL, now);
}

#[test]
fn one_record_a_client_and_period() {
    let mut throttle = throttle();
    let now = Instant::now();
    let client = stranger(1);
    for _ in 0..5000 {
        count(&mut throttle, &client, "rate_limited", "a:1", now);
    }
    count(&mut throttle, &client, "malformed_request", "", now);
    assert!(throttle.take(Some(now + EVERY / 2)).is_empty());
    let records = throttle.take(Some(now + EVERY));
    let [refusals] = records.as_slice() else {
        panic!("{records:?}");
    };
    assert_eq!(refusals.address, IpAddr::from([0, 0, 0, 1]));
    assert_eq!(
        (refusals.count, refusals.reasons[&"rate_limited".into()]),
        (5001, 5000)
    );
    assert_eq!(refusals.targets[&"a:1".into()], 5000);
    assert_eq!(throttle.due(now), None);
}

#[test]
fn the_first_has_a_record_of_its_own() {
    let mut throttle = throttle();
    let now = Instant::now();
    let (client, address) = (stranger(1), IpAddr::from([0, 0, 0, 1]));
    assert!(throttle.begin(&client, address, WALL, now));
    assert!(!throttle.begin(&client, address, WALL, now));
    assert!(
        throttle.take(Some(now + EVERY)).is_empty(),
        "there was no second"
    );
    assert!(throttle.begin(&client, address, WALL, now + EVERY));
}

/// A crowd of strangers takes neither the places nor the room of a listed client.
#[test]
fn a_crowd_leaves_a_listed_client_its_detail() {
    let mut throttle = throttle();
    let start = Instant::now();
    let zvm = listed("zvm-1");
    for n in 1..20_000 {
        while throttle.has_room(&stranger(n)) {
            throttle.charge(&stranger(n), 1000);
        }
        count(&mut throttle, &stranger(n), "rate_limited", "x:1", start);
    }
    assert!(throttle.take(Some(start + EVERY)).len() <= MAX_STRANGERS + 1);
    // Ten hours later the strangers have long used up what they may write.
    let mut now = start;
    while now < start + Duration::from_hours(10) {
        now += Duration::from_mins(10);
        for n in 1..2000 {
            count(&mut throttle, &stranger(n), "rate_limited", "x:1", now);
        }
        throttle.take(Some(now + EVERY));
    }
    assert!(throttle.has_room(&zvm));
    count(
        &mut throttle,
        &zvm,
        "destination_not_allowed",
        "evil:443",
        now,
    );
    let taken = throttle.take(Some(now + EVERY));
    let own = taken.iter().find(|it| it.client == Some("zvm-1".into()));
    assert_eq!(own.unwrap().targets[&"evil:443".into()], 1);
}

/// What strangers write in a day stays within half of their share, and none of it is lost.
#[test]
fn a_days_flood_of_counts_is_bounded_and_complete() {
    let mut throttle = throttle();
    let start = Instant::now();
    let (mut bytes, mut counted, mut sent) = (0, 0, 0);
    let mut now = start;
    while now < start + PERIOD {
        now += Duration::from_mins(1);
        for n in 1..=200 {
            count(&mut throttle, &stranger(n), "rate_limited", "x:1", now);
            sent += 1;
        }
        for refusals in throttle.take(Some(now + EVERY)) {
            bytes += u64::from(length(&refusals));
            counted += refusals.count;
        }
    }
    assert!(bytes <= (8 << 20) + 2000, "{bytes}");
    assert!(bytes >= 7 << 20, "{bytes} is less than strangers may have");
    let rest: u64 = throttle.take(None).iter().map(|it| it.count).sum();
    assert_eq!(counted + rest, sent);
}

#[test]
fn samples_are_few_and_short() {
    let mut throttle = throttle();
    let now = Instant::now();
    let zvm = listed("zvm-1");
    for n in 0..20 {
        let target = format!("{n}.{}.evil.example:443", "\\\"".repeat(300));
        count(&mut throttle, &zvm, "destination_not_allowed", &target, now);
    }
    let taken = throttle.take(None);
    assert_eq!(taken[0].targets.len(), MAX_SAMPLES);
    assert!(length(&taken[0]) < 2048, "{}", length(&taken[0]));
}

#[test]
fn an_ipv6_machine_is_its_64() {
    let party = |text: &str| Party::stranger(text.parse().unwrap());
    assert_eq!(party("2001:db8::1"), party("2001:db8::ffff:1"));
    assert_ne!(party("2001:db8::1"), party("2001:db8:0:1::1"));
}

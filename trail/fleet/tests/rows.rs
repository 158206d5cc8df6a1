//! Each row of the table of states, and its edges to the second.

use super::*;

fn facts() -> Facts {
    Facts {
        name: "zvm".into(),
        found: false,
        has_inventory: true,
        calls_home: true,
        role: None,
        version: None,
        entered: day(0.0),
        removed: None,
        upload: None,
        period: known(1.0),
        learned: None,
        tries: None,
        perhaps: None,
        other_version: None,
        report_only: None,
        last_tunnel: None,
        lost: None,
        seen: None,
        relays: Vec::new(),
        addresses: Vec::new(),
        addresses_left_out: 0,
        contradictions: Vec::new(),
        reading: None,
    }
}

fn known(days: f64) -> Period {
    Period {
        every: SignedDuration::from_secs_f64(days * 86_400.0),
        source: PeriodSource::Known,
    }
}

fn uploaded(days: f64) -> Facts {
    Facts {
        upload: Some(LastUpload {
            at: day(days),
            opened: day(days),
            relay: "dmz-1".into(),
            destination: None,
            address: None,
        }),
        ..facts()
    }
}

fn tries(end: AttemptEnd, count: u64, first: Timestamp, last: Timestamp) -> Tries {
    Tries {
        count,
        first,
        last,
        relay: "dmz-1".into(),
        attempt: Attempt {
            end,
            reason: None,
            host: None,
            destination: None,
            address: "10.0.0.1".parse().unwrap(),
            claimed: false,
        },
    }
}

fn relay(last: Timestamp, unread: bool) -> RelayFacts {
    RelayFacts {
        name: "dmz-1".into(),
        last,
        silent_after: SignedDuration::from_mins(80),
        down: SignedDuration::ZERO,
        unread,
        gap: None,
        ahead: None,
    }
}

/// Asserts that the state changes at this second, from the second before to this one.
#[track_caller]
fn changes(facts: &Facts, time: Timestamp, before: State, from: State) {
    assert_eq!(
        state(facts, clock::minus(time, SECOND)),
        before,
        "before {time}"
    );
    assert_eq!(state(facts, time), from, "at {time}");
}

/// Asserts that the state holds at this second, and changes after it.
#[track_caller]
fn holds_until(facts: &Facts, time: Timestamp, until: State, after: State) {
    assert_eq!(state(facts, time), until, "at {time}");
    assert_eq!(state(facts, plus(time, SECOND)), after, "after {time}");
}

#[test]
fn silence_goes_from_ok_over_late_and_quiet_to_overdue() {
    let facts = uploaded(1.0);
    assert_eq!(state(&facts, day(1.0)), State::Ok);
    holds_until(&facts, day(2.0), State::Ok, State::Late);
    holds_until(&facts, day(2.25), State::Late, State::Quiet);
    changes(&facts, day(11.0), State::Quiet, State::AtRisk);
    changes(&facts, day(16.0), State::AtRisk, State::Overdue);
    assert_eq!(facts.days_left(day(1.0)), Some(15));
    assert_eq!(facts.days_left(plus(day(1.0), SECOND)), Some(14));
    assert_eq!(facts.days_left(day(15.5)), Some(0));
    assert_eq!(facts.days_left(day(99.0)), Some(0));
}

#[test]
fn without_an_upload_it_goes_from_new_over_never_to_overdue() {
    let facts = facts();
    changes(&facts, day(3.0), State::New, State::Never);
    changes(&facts, day(10.0), State::Never, State::AtRisk);
    changes(&facts, day(15.0), State::AtRisk, State::Overdue);
    assert!(!facts.is_deadline_known());
    let slow = Facts {
        period: known(4.0),
        ..facts
    };
    changes(&slow, day(5.0), State::New, State::Never);
}

#[test]
fn grace_is_a_quarter_of_the_period_and_at_least_six_hours() {
    let with = |days| Facts {
        period: known(days),
        ..uploaded(0.0)
    };
    holds_until(&with(1.0 / 24.0), at(7.0), State::Late, State::Quiet);
    holds_until(&with(2.0), day(2.5), State::Late, State::Quiet);
    let assumed = Facts {
        period: Period::ASSUMED,
        ..uploaded(0.0)
    };
    holds_until(&assumed, day(3.75), State::Late, State::Quiet);
}

#[test]
fn a_known_period_holds_at_risk_back_and_a_long_one_moves_the_end() {
    // With nine days the next upload may come when five days are left.
    let nine = Facts {
        period: known(9.0),
        ..uploaded(0.0)
    };
    holds_until(&nine, day(11.25), State::Late, State::AtRisk);
    changes(&nine, day(15.0), State::AtRisk, State::Overdue);
    let learned = Facts {
        period: Period {
            source: PeriodSource::Learned,
            ..known(9.0)
        },
        ..uploaded(0.0)
    };
    changes(&learned, day(10.0), State::Late, State::AtRisk);
    let monthly = Facts {
        period: known(30.0),
        ..uploaded(0.0)
    };
    assert_eq!(state(&monthly, day(29.0)), State::Ok);
    changes(&monthly, day(40.0), State::Quiet, State::AtRisk);
    changes(&monthly, day(45.0), State::AtRisk, State::Overdue);
}

#[test]
fn removed_and_exempt_come_first() {
    let removed = Facts {
        removed: Some(day(2.0)),
        ..uploaded(0.0)
    };
    assert_eq!(state(&removed, day(99.0)), State::Removed);
    let exempt = Facts {
        calls_home: false,
        ..facts()
    };
    assert_eq!(state(&exempt, day(99.0)), State::Exempt);
    assert_eq!(exempt.days_left(day(1.0)), None);
}

#[test]
fn what_wasnt_read_makes_unknown_but_hides_no_deadline() {
    let silent = Facts {
        relays: vec![relay(day(2.0), false)],
        ..uploaded(1.9)
    };
    holds_until(
        &silent,
        plus(day(2.0), SignedDuration::from_mins(80)),
        State::Ok,
        State::Unknown,
    );
    assert_eq!(state(&silent, day(12.0)), State::AtRisk);
    let unread = Facts {
        relays: vec![relay(day(2.0), true)],
        ..uploaded(1.9)
    };
    assert_eq!(state(&unread, day(2.0)), State::Unknown);
    assert_eq!(state(&unread, day(16.9)), State::Overdue);
    let old = Facts {
        has_inventory: false,
        ..facts()
    };
    assert_eq!(state(&old, day(99.0)), State::Unknown);
}

#[test]
fn three_tries_in_a_row_tell_or_two_half_an_hour_apart() {
    for (end, expected) in [
        (AttemptEnd::Denied, State::Refused),
        (AttemptEnd::Failed, State::Failing),
        (AttemptEnd::Distrusted, State::Failing),
        (AttemptEnd::Small, State::Failing),
        (AttemptEnd::Unanswered, State::Failing),
    ] {
        let with = |count, first, last| Facts {
            tries: Some(tries(end, count, first, last)),
            ..uploaded(1.0)
        };
        let first = at(30.0);
        let second = plus(first, SECOND);
        assert_eq!(state(&with(3, first, second), second), expected);
        changes(&with(2, first, second), at(30.5), State::Ok, expected);
        assert_eq!(state(&with(1, first, first), at(31.0)), State::Ok);
        // The last one counts for the period and its grace, a day at least.
        let tried = with(3, first, at(31.0));
        holds_until(&tried, at(31.0 + 30.0), expected, State::Quiet);
        let hourly = Facts {
            period: known(1.0 / 24.0),
            ..tried
        };
        holds_until(&hourly, at(31.0 + 24.0), expected, State::Quiet);
    }
}

#[test]
fn a_try_that_may_have_been_one_counts_where_no_sure_one_does() {
    let perhaps = Facts {
        perhaps: Some(tries(AttemptEnd::Denied, 3, at(30.0), at(31.0))),
        ..uploaded(1.0)
    };
    assert_eq!(state(&perhaps, at(31.0)), State::Refused);
    let both = Facts {
        tries: Some(tries(AttemptEnd::Failed, 3, at(30.0), at(31.0))),
        ..perhaps.clone()
    };
    assert_eq!(state(&both, at(31.0)), State::Failing);
    let blip = Facts {
        tries: Some(tries(AttemptEnd::Failed, 1, at(30.0), at(30.0))),
        ..perhaps
    };
    assert_eq!(state(&blip, at(31.0)), State::Refused);
}

#[test]
fn a_reading_of_the_zvm_replaces_the_deadline_until_the_next_upload() {
    let reading = |at, alert_since| Some(Reading { at, alert_since });
    let alerted = Facts {
        reading: reading(day(2.0), Some(day(-4.0))),
        ..uploaded(1.0)
    };
    assert_eq!(alerted.deadline(), day(11.0));
    let uploaded_since = Facts {
        reading: reading(day(0.5), Some(day(-4.0))),
        ..uploaded(1.0)
    };
    assert_eq!(uploaded_since.deadline(), day(16.0));
    let well = Facts {
        reading: reading(day(9.0), None),
        ..uploaded(1.0)
    };
    assert_eq!(well.deadline(), day(24.0));
    let well_before = Facts {
        reading: reading(day(0.5), None),
        ..uploaded(1.0)
    };
    assert_eq!(well_before.deadline(), day(16.0));
}

#[test]
fn ready_for_the_third_goes_by_the_opening_in_utc() {
    let with = |opened: &str| {
        let mut facts = uploaded(0.0);
        facts.upload.as_mut().unwrap().opened = opened.parse().unwrap();
        facts
    };
    let on = |facts: &Facts, now: &str| facts.ready(now.parse().unwrap());
    let november = with("2026-11-30T23:59:59Z");
    for (now, expected) in [
        ("2026-11-28T23:59:59Z", None),
        ("2026-11-29T00:00:00Z", Some(Ready::Amber)),
        ("2026-12-01T00:00:00Z", Some(Ready::Amber)),
        ("2026-12-03T23:59:59Z", Some(Ready::Amber)),
        ("2026-12-04T00:00:00Z", None),
        ("2026-12-30T00:00:00Z", Some(Ready::Red)),
    ] {
        assert_eq!(on(&november, now), expected, "{now}");
    }
    let december = with("2026-12-01T00:00:00Z");
    assert_eq!(on(&december, "2026-12-01T00:00:00Z"), Some(Ready::Green));
    assert_eq!(
        on(&with("2026-10-31T23:59:59Z"), "2026-11-30T00:00:00Z"),
        Some(Ready::Red)
    );
    assert_eq!(on(&facts(), "2026-11-30T00:00:00Z"), Some(Ready::Red));
    // February has 28 days, and the month before January is another year's.
    assert_eq!(
        on(&with("2027-02-01T00:00:00Z"), "2027-02-27T00:00:00Z"),
        Some(Ready::Amber)
    );
    assert_eq!(
        on(&with("2026-12-15T00:00:00Z"), "2027-01-02T00:00:00Z"),
        Some(Ready::Amber)
    );
}

#[test]
fn the_worst_state_comes_first() {
    use State::*;
    let mut all = [
        Ok, Quiet, Exempt, Overdue, Never, Removed, Late, Unknown, AtRisk, New, Failing, Refused,
    ];
    all.sort_by_key(|state| std::cmp::Reverse(state.severity()));
    assert_eq!(
        all,
        [
            Overdue, AtRisk, Unknown, Refused, Failing, Quiet, Never, Late, New, Ok, Removed,
            Exempt
        ]
    );
    let alarming: Vec<_> = all
        .into_iter()
        .filter(|it| it.is_quiet_or_worse())
        .collect();
    assert_eq!(
        alarming,
        [Overdue, AtRisk, Unknown, Refused, Failing, Quiet, Never]
    );
}

//! Nothing but a counted upload, an exemption or a removal makes a client past its days look well.

use proptest::prelude::*;

use super::*;

/// What may happen to a client that uploads no more. The number is how long after the last event, in
/// minutes.
#[derive(Clone, Debug)]
enum Happens {
    /// A session ends with an `upload` other than probable, or with a reason.
    Closed(&'static str),
    Denied(&'static str),
    Failed(&'static str),
    OtherHost(bool),
    OtherClient,
    Opened,
    /// A tunnel without an end, at the next start.
    Lost(&'static str),
    Restart,
    Inventory,
    Rename,
    Gap,
    Hole,
    NewTrail,
    Counted,
    Step(i32),
    Checkpoint,
}

fn happens() -> impl Strategy<Value = (Happens, u32)> {
    let what = prop_oneof![
        prop_oneof![Just("small"), Just("distrusted"), Just("unanswered")]
            .prop_map(Happens::Closed),
        prop_oneof![
            Just("client_not_allowed"),
            Just("rate_limited"),
            Just("sni_mismatch")
        ]
        .prop_map(Happens::Denied),
        prop_oneof![Just("dns_failed"), Just("at_capacity")].prop_map(Happens::Failed),
        any::<bool>().prop_map(Happens::OtherHost),
        Just(Happens::OtherClient),
        Just(Happens::Opened),
        prop_oneof![Just("small"), Just("unanswered")].prop_map(Happens::Lost),
        Just(Happens::Restart),
        Just(Happens::Inventory),
        Just(Happens::Rename),
        Just(Happens::Gap),
        Just(Happens::Hole),
        Just(Happens::NewTrail),
        Just(Happens::Counted),
        (-100_000_i32..100_000).prop_map(Happens::Step),
        Just(Happens::Checkpoint),
    ];
    (what, 0..3000_u32)
}

/// A site whose clock may be wrong. `offset` is by how many minutes it is ahead.
struct World {
    trails: Vec<Relay>,
    truth: f64,
    offset: i32,
    name: String,
    names: u32,
    every: Value,
}

impl World {
    fn clock(&self) -> Timestamp {
        at((self.truth + f64::from(self.offset)) / 60.0)
    }

    fn relay(&mut self) -> &mut Relay {
        self.trails.last_mut().unwrap()
    }

    fn inventory(&mut self, formerly: &[String]) {
        let (time, name, every) = (self.clock(), self.name.clone(), self.every.clone());
        let client = with(listed(&name, time), "formerly", json!(formerly));
        let clients = [with(client, "expect_every", every), listed("other", time)];
        self.relay().inventory(time, &clients);
    }

    fn session(&mut self, event: &str, members: &Value) {
        let (time, name) = (self.clock(), self.name.clone());
        let mut session = json!({"client": {"name": name}});
        merge(&mut session, members);
        self.relay().session(event, time, &session);
    }

    fn happen(&mut self, what: &Happens) {
        let time = self.clock();
        match what {
            Happens::Closed(upload) => {
                self.session("tunnel_closed", &json!({"upload": upload, "bytes_up": 500}));
            }
            Happens::Denied(reason) => {
                self.session(
                    "request_denied",
                    &json!({"decision": "deny", "reason": reason}),
                );
            }
            Happens::Failed(reason) => self.session("request_failed", &json!({"reason": reason})),
            Happens::OtherHost(billing) => {
                let name = if *billing { "billing-8" } else { "licensing" };
                let members = json!({"billing": false, "destination": name, "bytes_up": 9000});
                self.session("tunnel_closed", &members);
            }
            Happens::OtherClient => {
                let members = json!({"client": {"name": "other"}, "upload": "probable"});
                self.session("tunnel_closed", &members);
            }
            Happens::Opened => self.session("tunnel_opened", &json!({"session": "open"})),
            Happens::Lost(upload) => {
                self.relay().event("relay_started", time, &json!({}));
                self.session("tunnel_lost", &json!({"session": "open", "upload": upload}));
            }
            Happens::Restart => {
                self.relay().event("relay_stopped", time, &json!({}));
                self.relay().event("relay_started", time, &json!({}));
            }
            Happens::Inventory => self.inventory(&[]),
            Happens::Rename => {
                let old = self.name.clone();
                self.names += 1;
                self.name = format!("zvm-{}", self.names);
                self.inventory(&[old]);
            }
            Happens::Gap => {
                let gap = json!({"data": {"from": null, "to": null, "count": 3, "cause": ""}});
                self.relay().event("audit_gap", time, &gap);
            }
            Happens::Hole => self.relay().seq += 10,
            Happens::NewTrail => {
                const IDS: [&str; 3] = ["t-a", "t-b", "t-c"];
                if let Some(id) = IDS.get(self.trails.len() - 1) {
                    self.trails.push(Relay::new(id, "dmz-1"));
                    self.inventory(&[]);
                }
            }
            Happens::Counted => {
                let data = json!({"address": "10.0.0.1", "since": "", "count": 9, "reasons": {}, "client": self.name, "destinations": [{"destination": "billing-9", "reason": "rate_limited", "count": 9}]});
                self.relay().event("refusals", time, &json!({"data": data}));
            }
            Happens::Step(minutes) => {
                self.offset = (self.offset + minutes).clamp(-2_000_000, 2_000_000);
                let data = json!({"data": {"seconds": minutes * 60}});
                let time = self.clock();
                self.relay().event("clock_stepped", time, &data);
            }
            Happens::Checkpoint => {
                self.relay().runs(time);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn nothing_else_makes_a_client_past_its_days_look_well(
        uploads in 0..10_u32,
        every in prop_oneof![Just(Value::Null), (1..9 * 24_u32).prop_map(|hours| json!(hours * 3600))],
        events in proptest::collection::vec(happens(), 0..40),
        steps in any::<bool>(),
        live in any::<bool>(),
    ) {
        let mut world = World {
            trails: vec![Relay::new("t-1", "dmz-1")],
            truth: 0.0,
            offset: 0,
            name: "zvm-0".into(),
            names: 0,
            every,
        };
        world.inventory(&[]);
        for _ in 0..uploads {
            world.truth += 24.0 * 60.0;
            world.session("tunnel_closed", &json!({"upload": "probable"}));
        }
        let last = world.truth;
        let mut fleet = Fleet::default();
        let mut read = 0;
        for (what, minutes) in &events {
            if !steps && matches!(what, Happens::Step(_)) {
                continue;
            }
            world.truth += f64::from(*minutes);
            world.happen(what);
            if live {
                // A console reads each record as it comes. It is stored and loaded on the way.
                let now = at(world.truth / 60.0);
                for record in world.trails.iter().flat_map(|it| &it.records).skip(read) {
                    fleet.take(record, now);
                    read += 1;
                }
                let snapshot = serde_json::to_string(&fleet).unwrap();
                fleet = serde_json::from_str(&snapshot).unwrap();
            }
        }
        // The clock is right again at the end, as far as it was set wrong.
        if world.offset != 0 {
            world.happen(&Happens::Step(-world.offset));
        }
        world.truth = world.truth.max(last + 15.0 * 24.0 * 60.0);
        world.happen(&Happens::Checkpoint);
        let now = at(world.truth / 60.0);
        for record in world.trails.iter().flat_map(|it| &it.records).skip(read) {
            fleet.take(record, now);
        }
        let all = fleet.facts(now);
        let facts = all.iter().find(|facts| facts.name == world.name).unwrap();
        let state = state(facts, now);
        prop_assert_eq!(state, State::Overdue, "{:#?}", facts);
    }
}

//! Three months of a relay, drawn by chance: starts, stops, crashes, and what clients did meanwhile.

use callhome_trail::{Chain, InventoryPart, TextPart};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::trail::session;

/// Draws records, and then chains them in the order of their true times.
pub(super) struct Months {
    random: u64,
    sessions: u64,
    /// The true time in seconds, the time that the clock showed, and the record.
    records: Vec<(i64, i64, Value)>,
}

/// How a run of the relay ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Stop,
    /// It is killed, and starts again at this time.
    Crash(i64),
    /// The trail ends, and the relay runs on.
    None,
}

/// What a relay knows of its time.
struct Run {
    from: i64,
    to: i64,
    end: End,
    /// An older relay tells neither uploads nor whom it lists.
    is_old: bool,
    clients: &'static [&'static [Client]],
}

#[derive(Clone, Copy)]
struct Client {
    name: &'static str,
    formerly: &'static [&'static str],
    calls_home: bool,
}

const fn client(name: &'static str, formerly: &'static [&'static str]) -> Client {
    Client {
        name,
        formerly,
        calls_home: true,
    }
}

const EXEMPT: Client = Client {
    name: "vra-1",
    formerly: &[],
    calls_home: false,
};
const BEFORE: &[Client] = &[
    client("zvm-silent", &[]),
    client("zvm-1", &[]),
    client("zvm-old", &[]),
    EXEMPT,
];
const AFTER: &[Client] = &[
    client("zvm-silent", &[]),
    client("zvm-1", &[]),
    client("zvm-2", &["zvm-old"]),
    client("zvm-late", &[]),
    EXEMPT,
];
const OTHER: &[Client] = &[client("zvm-1", &[]), client("zvm-b", &[])];

impl Months {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            sessions: seed << 32,
            records: Vec::new(),
        }
    }

    /// A relay that crashes twice, once just after a month's end, and whose inventory changes. Its
    /// clock is two years ahead for an hour.
    pub(super) fn of_one(mut self) -> String {
        for run in [
            run(
                "2026-09-28T06:00:00Z",
                "2026-10-20T13:30:00Z",
                "2026-10-23T09:00:00Z",
                &[BEFORE],
            ),
            run(
                "2026-10-23T09:00:00Z",
                "2026-11-11T10:00:00Z",
                "stop",
                &[BEFORE, AFTER],
            ),
            run(
                "2026-11-14T00:30:00Z",
                "2026-12-01T00:45:00Z",
                "2026-12-02T05:00:00Z",
                &[AFTER],
            ),
            run("2026-12-02T05:00:00Z", "2026-12-31T23:00:00Z", "", &[AFTER]),
        ] {
            self.draw(&run);
        }
        self.step_clock(second("2026-11-08T12:00:00Z"));
        self.chained("one", "dmz-1")
    }

    /// A relay that is old at first, and down for weeks.
    pub(super) fn of_two(mut self) -> String {
        let mut old = run(
            "2026-09-29T00:00:00Z",
            "2026-10-15T00:00:00Z",
            "stop",
            &[OTHER],
        );
        old.is_old = true;
        for run in [
            old,
            run(
                "2026-10-15T00:10:00Z",
                "2026-11-05T18:00:00Z",
                "2026-11-20T01:00:00Z",
                &[OTHER],
            ),
            run(
                "2026-11-20T01:00:00Z",
                "2026-12-10T03:00:00Z",
                "2026-12-28T04:00:00Z",
                &[OTHER],
            ),
            run(
                "2026-12-28T04:00:00Z",
                "2027-01-02T00:00:00Z",
                "stop",
                &[OTHER],
            ),
        ] {
            self.draw(&run);
        }
        self.chained("two", "dmz-2")
    }

    fn draw(&mut self, run: &Run) {
        self.push(run.from, json!({"event": "relay_started", "data": {}}));
        if !run.is_old {
            let length = (run.to - run.from) / i64::try_from(run.clients.len()).unwrap();
            for (n, clients) in (0..).zip(run.clients) {
                let from = run.from + n * length + 1;
                self.push(from, inventory(clients));
                // A new segment begins with the inventory.
                self.push(from + length / 2, inventory(clients));
            }
        }
        let mut at = run.from + HOUR;
        while at < run.to {
            self.push(at, checkpoint());
            at += HOUR;
        }
        match run.end {
            End::Stop => {
                self.push(run.to, json!({"event": "relay_stopped", "data": {}}));
                self.push(run.to + 1, checkpoint());
            }
            End::Crash(next) => {
                self.push(next - 5, json!({"event": "audit_gap", "data": {"from": null, "to": null, "count": 1, "cause": "torn"}}));
                self.push(next - 4, checkpoint());
            }
            End::None => {
                // Some tunnels must be open where the trail ends.
                for word in WORDS {
                    let mut record = self.begin_session("zvm-1");
                    record["destination"] = "zerto-billing-9".into();
                    self.draw_tunnel(run, run.to - 5 * HOUR, 9 * HOUR, word, &record);
                }
            }
        }
        let clients: Vec<_> = run.clients.iter().copied().flatten().collect();
        let mut at = run.from + 60;
        loop {
            at += self.below(4 * HOUR);
            if at >= run.to - 60 {
                break;
            }
            let client = clients[self.index(clients.len())].name;
            let weekday = at / DAY % 7;
            // Each is silent on some days, so that there are days to be counted.
            let is_silent = i64::try_from(client.len()).unwrap() % 7 == weekday || weekday == 3;
            if client != "zvm-silent" && !is_silent {
                self.draw_session(run, client, at);
            }
        }
    }

    fn draw_session(&mut self, run: &Run, client: &str, at: i64) {
        let mut record = self.begin_session(client);
        let is_billing = self.below(4) > 0;
        record["destination"] = if is_billing {
            "zerto-billing-9"
        } else {
            "zerto-other"
        }
        .into();
        let kind = self.below(100);
        if kind < 70 {
            let lasts = match self.below(10) {
                0..6 => self.below(20 * 60),
                6..9 => self.below(9 * HOUR),
                _ => self.below(60 * HOUR),
            };
            let word = if is_billing {
                WORDS[self.index(WORDS.len())]
            } else {
                None
            };
            self.draw_tunnel(run, at, lasts, word, &record);
        } else {
            record["billing"] = is_billing.into();
            self.draw_refusal(run, kind, at, record);
        }
    }

    fn begin_session(&mut self, client: &str) -> Value {
        let mut record = session("tunnel_closed", "", None);
        record.as_object_mut().unwrap().remove("time");
        self.sessions += 1;
        record["session"] = format!("s-{:x}", self.sessions).into();
        record["client"]["name"] = client.into();
        record["client"]["address"] = match client {
            "zvm-1" => format!("10.1.0.{}", self.below(4)),
            "zvm-b" => "10.1.0.2".to_owned(),
            _ => format!("10.2.0.{}", client.len()),
        }
        .into();
        if self.below(20) == 0 {
            record["client"]["name"] = Value::Null;
        }
        record["enforced"] = (self.below(10) > 0).into();
        record["upload"] = Value::Null;
        record["billing"] = Value::Null;
        record
    }

    /// Draws a request that gets no tunnel, or whose tunnel is refused at once.
    fn draw_refusal(&mut self, run: &Run, kind: i64, at: i64, mut record: Value) {
        for member in ["bytes_up", "bytes_down"] {
            record[member] = 0.into();
        }
        let (event, decision, reason) = match kind {
            70..80 => ("request_denied", "deny", json!("port_not_allowed")),
            80..86 => ("request_failed", "allow", json!("connection_refused")),
            86..92 => ("request_failed", "allow", Value::Null),
            92..95 => {
                let reasons = json!({"rate_limited": 7, "abandoned": 2});
                let data = json!({"address": record["client"]["address"], "since": "", "count": 9, "reasons": reasons});
                self.push(at, json!({"event": "refusals", "data": data}));
                return;
            }
            _ => {
                record["event"] = "tunnel_opened".into();
                self.push_of(run, at - 1, record.clone());
                ("tunnel_closed", "deny", json!("sni_mismatch"))
            }
        };
        if kind < 75 {
            // A name that is on no list.
            record["destination"] = Value::Null;
            record["billing"] = Value::Null;
        }
        record["event"] = event.into();
        record["decision"] = decision.into();
        record["reason"] = reason;
        self.push_of(run, at, record);
    }

    /// Draws a tunnel of which the relay says `word` once it has carried something.
    fn draw_tunnel(&mut self, run: &Run, at: i64, lasts: i64, word: Option<&str>, base: &Value) {
        let mut bytes = 0;
        let push = |months: &mut Self, event: &str, at: i64, bytes: i64| {
            let mut record = base.clone();
            record["event"] = event.into();
            record["bytes_up"] = bytes.into();
            record["bytes_down"] = (bytes / 3).into();
            record["upload"] = word.filter(|_| bytes > 0).into();
            months.push_of(run, at, record);
        };
        push(self, "tunnel_opened", at, 0);
        let end = (at + lasts).min(run.to - 1);
        let mut next = at + HOUR;
        while next < end {
            if self.below(5) < 2 {
                bytes += 1 + self.below(9000);
            }
            push(self, "tunnel_progress", next, bytes);
            next += HOUR;
        }
        let is_cut = at + lasts > run.to - 1;
        match run.end {
            End::Crash(next) if is_cut => push(self, "tunnel_lost", next + 2, bytes),
            End::None if is_cut => {}
            _ => {
                bytes += self.below(3) * 2000;
                push(self, "tunnel_closed", end, bytes);
            }
        }
    }

    /// Puts the clock two years ahead for an hour.
    fn step_clock(&mut self, from: i64) {
        let ahead = 2 * 365 * DAY;
        for (at, shown, _) in &mut self.records {
            if (from..from + HOUR).contains(at) {
                *shown += ahead;
            }
        }
        let step = |seconds: i64| json!({"event": "clock_stepped", "data": {"seconds": seconds}});
        self.records.push((from, from + ahead, step(ahead)));
        self.push(from + HOUR, step(-ahead));
        // The order of what is at the same second is kept, so these two must come first.
        self.records
            .sort_by_key(|(at, _, record)| (*at, record["event"] != "clock_stepped"));
    }

    fn push_of(&mut self, run: &Run, at: i64, mut record: Value) {
        if run.is_old {
            let members = record.as_object_mut().unwrap();
            members.remove("upload");
            members.remove("billing");
        }
        self.push(at, record);
    }

    fn push(&mut self, at: i64, record: Value) {
        self.records.push((at, at, record));
    }

    /// Chains the records as a relay does.
    fn chained(mut self, trail: &str, relay: &str) -> String {
        self.records.sort_by_key(|(at, ..)| *at);
        let mut chain = Chain::new(trail.into());
        let mut out = Vec::new();
        for (_, shown, mut record) in self.records {
            record["relay"] = relay.into();
            let text = record.to_string();
            let members = text.strip_prefix('{').unwrap().strip_suffix('}').unwrap();
            let time = Timestamp::from_second(shown).unwrap();
            chain.append(time, members.as_bytes(), &mut out);
        }
        String::from_utf8(out).unwrap()
    }

    /// Draws a number below another.
    fn below(&mut self, end: i64) -> i64 {
        // Steele and Vigna's SplitMix64.
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut it = self.random;
        it = (it ^ (it >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        i64::try_from((it ^ (it >> 31)) >> 1).unwrap() % end
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(i64::try_from(length).unwrap())).unwrap()
    }
}

fn run(from: &str, to: &str, end: &str, clients: &'static [&'static [Client]]) -> Run {
    Run {
        from: second(from),
        to: second(to),
        end: match end {
            "" => End::None,
            "stop" => End::Stop,
            next => End::Crash(second(next)),
        },
        is_old: false,
        clients,
    }
}

fn inventory(clients: &[Client]) -> Value {
    let clients: Vec<_> = clients
        .iter()
        .map(|client| {
            json!({
                "name": client.name,
                "formerly": client.formerly,
                "role": "zvm",
                "version": "9.7",
                "since": "2026-01-01T00:00:00Z",
                "expect_every": null,
                "calls_home": client.calls_home,
            })
        })
        .collect();
    let text = json!({"clients": clients, "destinations": []}).to_string();
    let [part] = TextPart::of(&text).try_into().unwrap();
    json!({"event": "inventory", "data": InventoryPart { inventory: part }})
}

fn checkpoint() -> Value {
    let data = json!({"records": 1, "boot": null, "uptime_ms": 1, "key": "", "next": ""});
    json!({"event": "checkpoint", "data": data})
}

fn second(time: &str) -> i64 {
    time.parse::<Timestamp>().unwrap().as_second()
}

/// What a relay may say of a tunnel. None where no upload counts.
const WORDS: [Option<&str>; 6] = [
    Some("probable"),
    Some("probable"),
    Some("probable"),
    Some("unanswered"),
    Some("small"),
    Some("distrusted"),
];
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

"""Counts a month of trails by the words of docs/audit.md, to be compared with `audit report`.

It shares no code with the relay. It holds a trail in memory and goes over it once for each question,
where the report adds record by record.
"""

import collections
import datetime
import json
import sys

UTC = datetime.timezone.utc
DAY = datetime.timedelta(days=1)
MICROSECOND = datetime.timedelta(microseconds=1)
# A start may write these before it says that it started.
OF_A_START = {"audit_gap", "checkpoint", "trail_pruned", "tunnel_lost"}
FAILURES = {"abandoned", "connection_refused", "connection_timeout", "dns_error"}


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def microseconds(time):
    epoch = datetime.datetime(1970, 1, 1, tzinfo=UTC)
    return None if time is None else (time - epoch) // MICROSECOND


class Month:
    def __init__(self, text):
        year, month = map(int, text.split("-"))
        self.start = datetime.datetime(year, month, 1, tzinfo=UTC)
        self.end = datetime.datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)

    def has(self, time):
        return self.start <= time < self.end

    def days_between(self, start, end):
        first = max(start, self.start).date()
        last = min(end, self.end - MICROSECOND).date()
        return {first + DAY * n for n in range((last - first).days + 1)}

    def days_at(self, times):
        return {time.date() for time in times if self.has(time)}


def read(path):
    records = []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            record["time"] = moment(record["time"])
            records.append(record)
    return records


def pieces(records):
    """Gives the times between which the relay ran, each as the list of its records."""
    starts = [n for n, record in enumerate(records) if record["event"] == "relay_started"]
    for start, end in zip(starts, starts[1:] + [len(records)]):
        run = records[start:end]
        stops = [n for n, record in enumerate(run) if record["event"] == "relay_stopped"]
        if stops:
            run = run[: stops[0] + 1]
        elif end < len(records):
            soon = records[end]["time"] - datetime.timedelta(minutes=10)
            while run[-1]["event"] in OF_A_START and run[-1]["time"] > soon:
                run.pop()
        # Another relay's tunnels are told as lost after the start, and show no life of this one.
        run = [record for record in run if record["event"] not in ("tunnel_lost", "audit_gap")]
        while run:
            steps = [
                n
                for n, record in enumerate(run)
                if n > 0 and record["event"] == "clock_stepped"
            ]
            cut = steps[0] if steps else len(run)
            yield start, run[:cut]
            run = run[cut:]


def coverage(records, month):
    """Gives the days on which the relay ran, ran without an inventory, and listed each client."""
    ran, unknown, listed = set(), set(), collections.defaultdict(lambda: {"days": set()})
    of_start, inventory = None, None
    for start, piece in pieces(records):
        if start != of_start:
            of_start, inventory = start, None
        begin = piece[0]["time"]
        spans = []
        for record in piece:
            if record["event"] != "inventory":
                continue
            clients = json.loads(record["data"]["text"])["clients"]
            if inventory is not None and clients != inventory:
                spans.append((begin, record["time"], inventory))
                begin = record["time"]
            inventory = clients
        spans.append((begin, piece[-1]["time"], inventory))
        for begin, end, clients in spans:
            if end < month.start or begin >= month.end:
                continue
            days = month.days_between(begin, end)
            ran |= days
            if clients is None:
                unknown |= days
            for client in clients or []:
                listed[client["name"]]["days"] |= days
                listed[client["name"]].update(client)
    return ran, unknown, listed


def dated(records):
    """Gives the time of a tunnel, and all the times at which it was opened or grew."""
    opened = records[0]
    times, most = [opened["time"]], opened["bytes_up"]
    for record in records:
        if record["event"] == "tunnel_progress" and record["bytes_up"] > most:
            times.append(record["time"])
            most = record["bytes_up"]
    return times[-1], times


def count(month, paths):
    rows = collections.defaultdict(
        lambda: {
            "sums": collections.Counter(),
            "reasons": collections.Counter(),
            "times": [],
            "days": set(),
            "counts": False,
        }
    )
    addresses = collections.defaultdict(lambda: [0, 0, None])
    ran, unknown, listed, names = set(), set(), {}, collections.defaultdict(set)
    bulk = collections.defaultdict(collections.Counter)
    trails = [read(path) for path in paths]
    for records in trails:
        more_ran, more_unknown, more_listed = coverage(records, month)
        ran |= more_ran
        unknown |= more_unknown
        for name, client in more_listed.items():
            client["days"] |= listed.get(name, {"days": set()})["days"]
            listed[name] = client
    now = {old: name for name, client in listed.items() for old in client["formerly"]}
    for old, name in now.items():
        if old in listed:
            listed[name]["days"] |= listed.pop(old)["days"]

    for records in trails:
        sessions = collections.defaultdict(list)
        for record in records:
            if record.get("session"):
                sessions[record["session"]].append(record)
            if record["event"] == "refusals" and month.has(record["time"]):
                bulk[record["data"]["address"]].update(record["data"]["reasons"])
        for session in sessions.values():
            add_session(month, session, rows, addresses, names, now)
    for address, reasons in bulk.items():
        name = min(names[address]) if len(names[address]) == 1 else None
        key = ("listed", name) if name else ("unlisted", address)
        rows[*key, None]["reasons"].update(reasons)

    for name, client in listed.items():
        own = [row for key, row in rows.items() if key[:2] == ("listed", name)]
        if not own or client["calls_home"] and not any(row["counts"] for row in own):
            rows["listed", name, None]["counts"] |= client["calls_home"]
    return {
        "days_covered": len(ran),
        "rows": [told(key, row, rows, ran, unknown, listed) for key, row in rows.items()],
        "addresses": [
            [name, address, tunnels, uploads, microseconds(last)]
            for (name, address), (tunnels, uploads, last) in addresses.items()
        ],
    }


def add_session(month, session, rows, addresses, names, now):
    last = session[-1]
    client = last["client"]
    name = now.get(client["name"], client["name"])
    who = ("listed", name) if name else ("unlisted", client["address"])
    key = (*who, last["destination"])
    is_open = last["event"] == "tunnel_progress" and last.get("upload") == "probable"
    if last["event"] in ("tunnel_opened", "tunnel_progress") and not is_open:
        return
    is_judged = "upload" in last
    is_tunnel = last["event"].startswith("tunnel") and last["decision"] == "allow"
    if is_judged:
        is_upload = last["upload"] == "probable"
        counts = last["upload"] is not None or last["billing"] is True
    else:
        is_upload = last["bytes_up"] > 0
        counts = last["destination"] is not None
    at, times = dated(session) if is_tunnel else (last["time"], [])
    days = month.days_at(times) if is_tunnel and is_upload else set()
    if not month.has(at) and not days:
        return
    row = rows[key]
    row["counts"] |= counts
    row["days"] |= days
    if client["name"]:
        names[client["address"]].add(name)
    if not month.has(at):
        return
    sums = row["sums"]
    sums["bytes_up"] += last["bytes_up"]
    sums["bytes_down"] += last["bytes_down"]
    if client["name"]:
        of_address = addresses[name, client["address"]]
    else:
        of_address = [0, 0, None]
    if not is_tunnel:
        row["reasons"][last["reason"] or "abandoned"] += 1
        return
    of_address[0] += 1
    sums["tunnels"] += 1
    sums["open"] += is_open
    sums["lost"] += last["event"] == "tunnel_lost"
    sums["not_enforced"] += last["enforced"] is False
    if is_upload:
        sums["uploads"] += 1
        sums["unjudged"] += not is_judged
        row["times"].append(at)
        of_address[1] += 1
        of_address[2] = max(of_address[2] or at, at)
    elif is_judged and last["upload"]:
        sums["not_uploads"] += 1


def told(key, row, rows, ran, unknown, listed):
    kind, client, destination = key
    calls_home = listed.get(client, {}).get("calls_home") if kind == "listed" else None
    without = None
    if row["counts"] and calls_home is not False:
        if kind == "listed":
            expected = listed.get(client, {"days": set()})["days"] | unknown
        else:
            expected = ran
        uploaded = set().union(*(it["days"] for other, it in rows.items() if other[:2] == key[:2]))
        without = sorted(str(day) for day in expected - uploaded)
    failed = sum(number for reason, number in row["reasons"].items() if reason in FAILURES)
    names = "tunnels open lost not_enforced bytes_up bytes_down uploads unjudged not_uploads"
    return {
        "client": client,
        "listed": kind == "listed",
        "destination": destination,
        **{name: row["sums"][name] for name in names.split()},
        "refused": sum(row["reasons"].values()) - failed,
        "failed": failed,
        "first_upload": microseconds(min(row["times"], default=None)),
        "last_upload": microseconds(max(row["times"], default=None)),
        "days_without_upload": without,
    }


json.dump(count(Month(sys.argv[1]), sys.argv[2:]), sys.stdout)

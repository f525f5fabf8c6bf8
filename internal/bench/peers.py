#!/usr/bin/env python3
"""Prints the ratios of this build to Restate's best, and every limit: peers.py OURS RESTATE, both of peers.sh."""
import json, statistics, sys

ours = [json.loads(line) for line in open(sys.argv[1])]
theirs = [json.loads(line) for line in open(sys.argv[2])]


def values(name, key, case=None):
    """Every value of a figure of this build; a case is a part of its name."""
    return [o["values"][key] for o in ours if o["as"] == name and key in o["values"] and (case is None or case == o.get("case"))]


def median(name, key, case=None):
    found = values(name, key, case)
    return statistics.median(found) if found else None


def best(case, key, pick):
    """The median of Restate's best number of partitions."""
    medians = []
    for partitions in {t["partitions"] for t in theirs}:
        found = [t[key] for t in theirs if t["case"] == case and t["partitions"] == partitions]
        if found:
            medians.append(statistics.median(found))
    return pick(medians) if medians else None


rows = []


def row(what, value, sign, limit, detail=""):
    if value is None:
        rows.append((what, "not measured", f"{sign} {limit}", "", detail))
        return
    held = value >= limit if sign == "≥" else value <= limit
    rows.append((what, f"{value:.4g}", f"{sign} {limit}", "yes" if held else "NO", detail))


def ratio(what, name, case, sign, limit, key="steps_per_second", peer="steps_per_s", pick=max):
    mine, other = median(name, key), best(case, peer, pick)
    row(what, mine / other if mine and other else None, sign, limit, f"{mine or 0:.4g} / {other or 0:.4g}")


ratio("W1, express lane, against Restate", "w1-express", "w1", "≥", 1.6)
ratio("W1, by Kafka alone", "w1-kafka", "w1", "≥", 1.2)
ratio("W1, workers in own processes", "w1-own", "w1", "≥", 0.9)
ratio("W1, 400 in flight", "w1-400", "w1-400", "≥", 2)
ratio("W2", "w2", "w2", "≥", 2)
ratio("W2, workers in own processes", "w2-own", "w2", "≥", 0.8)
ratio("solo, express lane, ms a step", "solo-express", "solo", "≤", 0.9, "step_p50_ms", "step_p50_ms", min)
ratio("solo, by Kafka alone, ms a step", "solo-kafka", "solo", "≤", 1.5, "step_p50_ms", "step_p50_ms", min)
for case in ("workers killed", "handlers killed", "workers and handlers killed"):
    row(f"W3, {case}: all ended, s", median("w3", "all_ended_after_kill_s", case), "≤", 2)
    row(f"W3, {case}: repeated keyed effects", median("w3", "effects_repeated", case), "≤", 0, f"{median('w3', 'effects_performed_again', case) or 0:.0f} performed again")
for callers, limit in ((256, 1.8), (64, 1.3), (16, 0.9), (1, 0.5)):
    row(f"append, {callers} callers, against plain inserts", median("append", "ratio", f"callers={callers}"), "≥", limit)
row("one stream, commands/s", median("stream", "commands_per_second"), "≥", 5000)
for name, how in (("latency", "gathering for 10 ms"), ("latency-at-once", "HISHAMOS_RELAY_LINGER=0")):
    for share, limit in (("p50", 3), ("p99", 15)):
        detail = f"recorded to consumer {median(name, f'recorded_{share}_ms') or 0:.3g}"
        row(f"commit to Kafka's acknowledgement, {how}, {share} ms", median(name, f"acknowledged_{share}_ms"), "≤", limit, detail)
for name in sorted({o["case"] for o in ours if o["as"] == "rebuild"}):
    row(f"rebuild {name}, events/s", median("rebuild", "events_per_second", name), "≥", 100000 if name == "runs" else 50000)
row("store from Kafka, events/s", median("store-from-kafka", "events_per_second"), "≥", 20000)
row("Kafka from store, events/s", median("kafka-from-store", "events_per_second"), "≥", 100000)
row("W1, transactions a step", median("w1-express", "transactions_per_step"), "≤", 0.3)
row("W1, WAL syncs a step", median("w1-express", "wal_syncs_per_step"), "≤", 0.2)
row("W1, WAL bytes a step, no page images", median("w1-express", "wal_bytes_per_step_without_page_images"), "≤", 4096)
for t in theirs:
    t["cpu_s_per_1000_steps"] = t["cpu_s"] / (t["workflows"] * 10) * 1000
row("W1, CPU s per 1,000 steps", median("w1-express", "cpu_s_per_1000_steps"), "≤", 0.35, f"Restate {best('w1', 'cpu_s_per_1000_steps', min) or 0:.3g}")
row("memory, fresh, MB", median("memory", "resident_mb", "fresh"), "≤", 120)
row("memory, restarted with 1 M events, MB", median("memory", "resident_mb", "after a restart"), "≤", 350)

syncs = [o["setup"]["sync_ms"] for o in ours]
print(f"sync of a small write: {min(syncs):.2f} to {max(syncs):.2f} ms; {ours[0]['setup']['cpus']} CPUs; version {ours[0]['setup']['version']}\n")
print("| what | value | limit | held | ours / Restate |\n|---|---|---|---|---|")
for r in rows:
    print("| " + " | ".join(r) + " |")

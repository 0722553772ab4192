"""The system as a whole: the demo, freshness, churn, kills, hostile messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.churn.columns import HEAD, cells
from benchmarks.churn.plots import MEASURES


def demo(found: dict[str, Any]) -> str:
    """The demo's own account, one column per run."""
    rows: dict[str, Callable[[dict[str, Any]], str]] = {
        "engagements produced = trained + dead-lettered + dropped + pending": lambda r: (
            "{produced:,} = {trained:,} + {dead_lettered:,} + {dropped} + {pending}".format(
                **(r["events"] | {"dropped": f"{_total(r['events']['dropped']):,}"})
            )
        ),
        "events/s over the run": lambda r: f"{r['events_per_second']:,.0f}",
        "replay speed, stream time per wall time": lambda r: f"{r['replay_speed']:,.0f}x",
        "live prequential queries": lambda r: f"{r['queries']:,}",
        "recall@20, served / popularity": lambda r: "{served:.3f} / {popularity:.3f}".format(**r["recall_at_20"]),
        "recall@50, served / popularity": lambda r: "{served:.3f} / {popularity:.3f}".format(**r["recall_at_50"]),
        "share of the corpus scored": lambda r: f"{100 * r['scored_share']:.1f}%",
        "freshness by HTTP probes, p50 / p99": lambda r: "{p50:.2f} s / {p99:.2f} s".format(**r["freshness_seconds"]),
        "items expired": lambda r: f"{r['index']['expired']:,}",
        "expired items returned": lambda r: str(r["expired_returned"]),
        "HTTP answers checked by a replay": lambda r: f"{r['answers_checked']:,}",
    }
    names = list(found)
    lines = [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {title} | {' | '.join(show(found[name]) for name in names)} |" for title, show in rows.items()]
    return "\n".join(lines)


def ingest(found: dict[str, Any]) -> str:
    """Events over HTTP beside bare appends, on each log."""
    parts = [_ingest(found)]
    if "kafka" in found:
        parts.append(_ingest(found["kafka"]))
    return "\n\n".join(parts)


def _ingest(found: dict[str, Any]) -> str:
    rates, costs = found["events_per_second"], found["server_cpu_us_per_event"]
    before, after = found["load_average"]
    titles = {
        "http": f"HTTP, JSON, {found['batch']} a call",
        "http_arrow": "HTTP, Arrow, 10,000 a call",
        "append": f"bare append, {found['batch']} at once",
    }
    lines = [
        f"{found['cores']} cores for everything, load average {before:g} to {after:g} (other programs included), "
        f"{found['callers']} connections, log: {found['log']}; median of {len(found['rounds']['http'])} rounds of "
        f"{found['events']:,} events each. Accepted: {found['accepted']:,}, in the log: {found['in_log']:,}.",
        "",
        "| | events/s | processor time of the server per event |",
        "|---|--:|--:|",
    ]
    for name, title in titles.items():
        cost = f"{costs[name]:.1f} us" if name in costs else "-"
        lines.append(f"| {title} | {rates[name]:,} | {cost} |")
    return "\n".join(lines)


def freshness(found: dict[str, Any]) -> str:
    """How soon items could be retrieved, and how soon they were gone."""
    sent = found["sent_per_second"]
    lines = [
        f"{found['seconds']:.0f} s, {found['cores']} cores for everything, log: {found['log']}; "
        f"{sent['items']:,.0f} item events/s and {sent['engagements']:,.0f} engagements/s sent, "
        f"{found['learned_per_second']:,.0f} learned, {found['queries'] / found['seconds']:,.0f} queries/s; "
        f"{found['items_in_index']:,.0f} items known and {found['versions']} versions at the end, "
        f"{found['lag_records']:,.0f} records unread.",
        "",
        "| | count | p50 | p90 | p99 | longest |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    rows = {
        "arrival_seconds": "sent to first retrieved",
        "departure_seconds": "end to last retrieved",
        "query_seconds": "a query over HTTP",
    }
    for name, title in rows.items():
        of = found[name]
        times = [f"{of[share]:.3f} s" for share in ("p50", "p90", "p99", "p100")]
        lines.append(f"| {title} | {of['count']:,} | {' | '.join(times)} |")
    return "\n".join(lines) + (
        f"\n\nItems returned to the queries: {found['items_returned']:,}; expired ones among them: "
        f"{found['expired_returned']}. Items that never came or never went: {found['lost']}."
    )


def churn(found: dict[str, Any]) -> str:
    """What every competitor was like after each share of the items had been replaced."""
    parts = []
    for items, of in found["sizes"].items():
        lines = [f"{int(items):,} items.", "", f"| {' | '.join(HEAD)} |", "|---" + "|--:" * (len(HEAD) - 1) + "|"]
        for name, one in of["competitors"].items():
            lines += [f"| {' | '.join(cells(name, look))} |" for look in one["looks"]]
        lines += [""] + [f"![{title}](img/churn-{items}-{measure}.svg)" for measure, title in MEASURES.items()]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def kills(found: dict[str, Any]) -> str:
    """What was dealt, and what was left of the index."""
    struck = ", ".join(f"{count} x {name.replace('_', ' ')}" for name, count in found["kills"].items())
    return (
        f"{sum(found['kills'].values())} kills ({struck}) and {found['pauses_past_the_lease']} pauses in "
        f"{found['seconds']:.0f} s; {found['items_announced']:,} items announced, version {found['version']} at last, "
        f"{found['fencing_token']} leadership terms. Damage found by `hsnn index verify`: "
        f"{sum(found['damage'].values())}; the map holds exactly the living items: "
        f"{'yes' if found['map_is_the_living_items'] else 'NO'}."
    )


def crash(found: dict[str, Any]) -> str:
    """What was killed, and what became of it, by log."""
    logs = found["logs"]
    rows: dict[str, list[str]] = {
        "kills": [f"{sum(one['hits'].values())}" for one in logs.values()],
        "by phase": [", ".join(f"{count} {phase}" for phase, count in one["hits"].items()) for one in logs.values()],
        "fewest steps before a kill": [f"{one['fewest_steps']}" for one in logs.values()],
        "files cut short besides": [f"{one['torn']}" for one in logs.values()],
        "trained + dead-lettered + dropped + pending": [
            " + ".join(f"{one['account'][part]:,}" for part in ("trained", "dead_lettered", "dropped", "pending"))
            for one in logs.values()
        ],
        "seconds, undisturbed / killed": [
            f"{one['undisturbed_seconds']:.0f} / {one['seconds']:.0f}" for one in logs.values()
        ],
        "digest, undisturbed / killed": [
            f"`{one['undisturbed_digest'][:12]}` / `{one['digest'][:12]}`" for one in logs.values()
        ],
        "differences": [str(len(one["differences"])) for one in logs.values()],
    }
    head = [f"| | {' | '.join(logs)} |", f"|---|{'---|' * len(logs)}"]
    lines = [f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()]
    return "\n".join([f"{found['events']:,} events of {found['data']}, seed {found['seed']}.", "", *head, *lines])


def fuzz(found: dict[str, Any]) -> str:
    """The account of the hostile messages."""
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in found["dropped"].items()) or "0"
    return (
        f"{found['messages']:,} messages (log: {found['log']}, seed {found['seed']}) in {found['seconds']:,.0f} s: "
        f"{found['produced']:,} events produced = {found['trained']:,} trained + {found['dead_lettered']:,} "
        f"dead-lettered + dropped ({dropped}) + {found['pending']:,} pending; {found['unaccounted']:,} unaccounted. "
        f"{found['letters']:,} dead letters of all topics, each once; {found['restarts']} restarts from a state. "
        f"The process held {found['memory_after_a_quarter_mb']:,} MB after a quarter of the stream and "
        f"{found['memory_at_the_end_mb']:,} MB at its end."
    )


def _total(dropped: Any) -> int:
    return sum(dropped.values()) if isinstance(dropped, dict) else int(dropped)

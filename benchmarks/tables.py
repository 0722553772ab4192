"""Write the tables of `docs/benchmarks.md` from `results/*.json`, so that no figure there is typed by hand.

make docs
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.churning.columns import HEAD, cells
from benchmarks.churning.plots import MEASURES
from benchmarks.publishing.table import table as publish

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
COLUMNS = {
    "R@20": "recall_at_20", "R@50": "recall_at_50", "R@200": "recall_at_200", "NDCG@20": "ndcg_at_20",
    "fresh": "fresh_24h_recall_at_50", "rare": "rare_recall_at_50", "coverage": "coverage",
}  # fmt: skip
ABLATED = "globo-news-300k"
"""Of the sets, the one whose table is that of the ablations."""
BUDGETS = ("50", "100", "200", "500", "1000")


def quality(found: dict[str, Any]) -> str:
    """Methods, curves and differences of the first variant of each data set, then what the other variants change."""
    parts = []
    for name, of in found["sets"].items():
        if name == ABLATED:
            continue
        first, *others = of["variants"].items()
        parts += [_heading(name, first[1]), _methods(first[1]), _differences(first[1]), _orders(first[1])]
        if of.get("goals"):
            parts.append(_goals(of["goals"]))
        if others:
            parts.append(_variants(first, others))
    return "\n\n".join(parts)


def ablations(found: dict[str, Any]) -> str:
    """What each change of the default does."""
    of = found["sets"].get(ABLATED)
    if of is None:
        return ""
    first, *others = of["variants"].items()
    return "\n\n".join([_heading(ABLATED, first[1]), _methods(first[1]), _orders(first[1]), _variants(first, others)])


def _heading(name: str, of: dict[str, Any]) -> str:
    index, hours = of["index"], of["popularity_half_life_hours"]
    return (
        f"### {name}\n\nConfiguration `{of['config'][:12]}`, {of['events']:,} events, {of['seeds']} seed(s), "
        f"{of['queries']:,.0f} queries each. "
        f"{index['versions']:.0f} versions; {index['items']:,.0f} items in {index['nodes']:.0f} nodes at the end, "
        f"fullest over mean {index['max_over_mean']:.1f}, {100 * index['dead_share']:.1f}% dead, churn "
        f"{index['churn_per_100k_events']:.1f} per item and 100,000 events. Popularity's best half-life: "
        f"{'none' if hours is None else f'{hours:g} h'}."
    )


def _methods(of: dict[str, Any]) -> str:
    lines = [f"| method | {' | '.join(COLUMNS)} | scored | share |", "|---" + "|--:" * (len(COLUMNS) + 2) + "|"]
    for name, figures in of["methods"].items():
        percent = [_percent(figures[key]) for key in COLUMNS.values()]
        work = [f"{figures['scored']:.0f}", f"{100 * figures['scored_share']:.1f}%"]
        lines.append(f"| {' | '.join([name.replace('_', ' '), *percent, *work])} |")
    return "\n".join(lines)


def _differences(of: dict[str, Any]) -> str:
    lines = ["| served minus ... | recall@20, points | recall@50, points |", "|---|--:|--:|"]
    for pair, figures in of["comparisons"].items():
        cells = [_interval(figures[figure]) for figure in ("recall_at_20", "recall_at_50")]
        lines.append(f"| {pair.removeprefix('served - ').replace('_', ' ')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _orders(of: dict[str, Any]) -> str:
    lines = [f"| recall@50 at a budget of | {' | '.join(BUDGETS)} |", "|---" + "|--:" * len(BUDGETS) + "|"]
    for name, curve in of["curves"].items():
        cells = [_percent(curve[budget]["recall_at_50"]) for budget in BUDGETS]
        lines.append(f"| {name.replace('_', ' ')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _goals(of: list[dict[str, Any]]) -> str:
    lines = ["| goal | at least | mean (95% interval over seeds) | |", "|---|--:|--:|---|"]
    for one in of:
        ends = "" if one["low"] is None else f" ({one['low']:.4f} to {one['high']:.4f})"
        lines.append(f"| {one['what']} | {one['goal']:g} | {one['mean']:.4f}{ends} | {one['verdict']} |")
    return "\n".join(lines)


def _variants(first: tuple[str, dict[str, Any]], others: list[tuple[str, dict[str, Any]]]) -> str:
    """What each variant does, and how far it is from the first one on the same queries."""
    head = (
        "variant | served R@50 | exhaustive R@50 | served, points | exhaustive, points | merge at 50, points "
        "| whole nodes at 100, points | max/mean | dead | churn"
    )
    lines = [f"| {head} |", "|---" + "|--:" * head.count("|") + "|"]
    for name, of in (first, *others):
        recalls = [_percent(of["methods"][method]["recall_at_50"]) for method in ("served", "exhaustive")]
        minus = of.get("minus_reference")
        change = [_interval(minus[method]["recall_at_50"]) if minus else "" for method in ("served", "exhaustive")]
        change += [
            _interval(minus[order][budget]) if minus else ""
            for order, budget in (("merge", "50"), ("whole_nodes", "100"))
        ]
        index = of["index"]
        shape = [f"{index['max_over_mean']:.1f}", f"{100 * index['dead_share']:.1f}%"]
        churn = f"{index['churn_per_100k_events']:.1f}"
        lines.append(f"| {' | '.join([name, *recalls, *change, *shape, churn])} |")
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "-" if share is None or np.isnan(share) else f"{100 * share:.2f}"


def _interval(of: dict[str, Any]) -> str:
    """Points: the mean, and the ends of the 95% interval over the seeds."""
    if of["low"] is None:
        return f"{100 * of['mean']:+.2f}"
    return f"{100 * of['mean']:+.2f} ({100 * of['low']:+.2f} to {100 * of['high']:+.2f})"


def speed(found: dict[str, Any]) -> str:
    """Events per second and milliseconds, one column per data set."""
    sets = found["sets"]
    head = f"{found['cores']} cores, configuration `{found['config'][:12]}`."
    rows: dict[str, Callable[[dict[str, Any]], str]] = {
        "events": lambda of: f"{of['events']:,}",
        "bare training loop, one torch thread": lambda of: _rate(of["training_events_per_second"]["threads_1"]),
        "bare training loop, two torch threads": lambda of: _rate(of["training_events_per_second"]["threads_2"]),
        "items in the index": lambda of: f"{of['retrieval_milliseconds']['corpus']['items']:,.0f}",
    }
    for mode in ("beam", "exhaustive", "popularity"):
        rows[f"one request, {mode}, one thread: p50 / p99"] = lambda of, mode=mode: (  # type: ignore[misc]
            "{p50:.2f} / {p99:.2f} ms".format(**of["retrieval_milliseconds"][mode])
        )
    lines = [head, "", f"| | {' | '.join(sets)} |", "|---" + "|--:" * len(sets) + "|"]
    lines += [f"| {title} | {' | '.join(show(of) for of in sets.values())} |" for title, show in rows.items()]
    return "\n".join(lines)


def _rate(events: float) -> str:
    return f"{events:,.0f} events/s"


def pipeline(found: dict[str, Any]) -> str:
    """Events per second of every log against the bare loop, and where the time goes."""
    stages = ("poll", "decode", "batch", "waited_while_learning", "step")
    titles = ("poll", "decode", "merge and batch", "waited for while learning", "the step itself")
    lines = [
        f"{found['data']}, {found['events']:,} events, {found['threads']} torch threads, {found['cores']} cores, "
        f"configuration `{found['config'][:12]}`, {found['rounds']} rounds; the bare loop: "
        f"{_rate(found['bare_events_per_second'])}.", "",
        f"| log | events/s | of the bare loop | by round | {' | '.join(titles)} |", "|---" + "|--:" * 8 + "|",
    ]  # fmt: skip
    for name, of in found["logs"].items():
        rounds = ", ".join(f"{ratio:.2f}" for ratio in of["ratio_by_round"])
        times = [f"{of['microseconds_per_event'][stage]:.1f} us" for stage in stages]
        cells = [name, f"{of['events_per_second']:,.0f}", f"{of['ratio']:.2f}", rounds, *times]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def workers(found: dict[str, Any]) -> str:
    """Events per second of one trainer and of several."""
    lines = [
        f"{found['data']}, {found['events']:,} events, {found['cores']} cores, one torch thread per worker.", "",
        "| workers | events per batch of each | per step | events/s, mean | by round |", "|--:|--:|--:|--:|---|",
    ]  # fmt: skip
    for run in found["runs"]:
        rounds, step = run["events_per_second"], run["workers"] * run["batch"]
        by_round = ", ".join(f"{rate:,.0f}" for rate in rounds)
        lines.append(f"| {run['workers']} | {run['batch']} | {step:,} | {np.mean(rounds):,.0f} | {by_round} |")
    return "\n".join(lines)


def exact(found: dict[str, Any]) -> str:
    """Share scored and milliseconds of the modes, medians over the queries."""
    alone = found["search_alone"]
    lines = [
        f"{found['events']:,} events each, {found['cores']} cores, one thread, configuration `{found['config'][:12]}`. "
        "Medians; time per request at a moment that was not asked about before / that was.", "",
        "| data, k | items | queries | exact scored (90th percentile) | beam scored | exact | exhaustive | beam |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, run in found["sets"].items():
        for size in (key for key in run if key.startswith("k_")):
            modes = run[size]
            cells = [f"{name}, {size[2:]}", f"{run['items']:,}", str(run["queries"])]
            cells.append(f"{100 * modes['exact']['share']:.1f}% ({100 * modes['exact']['share_p90']:.1f}%)")
            cells.append(f"{100 * modes['beam']['share']:.1f}%")
            cells += [
                f"{modes[mode]['new_moment_ms']:.2f} / {modes[mode]['same_moment_ms']:.2f} ms"
                for mode in ("exact", "exhaustive", "beam")
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + (
        f"\n\nThe search alone, {alone['items']:,} planted vectors in {alone['nodes']:,} nodes, k = 20: "
        f"{alone['exact_ms']:.1f} ms with {100 * alone['share']:.2f}% scored, {alone['exhaustive_ms']:.1f} ms for all; "
        f"making the bounds took {alone['bounds_ms']:,.0f} ms."
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
        f"{found['fencing_token']} terms of office. Damage found by `hsnn index verify`: "
        f"{sum(found['damage'].values())}; the map holds exactly the living items: "
        f"{'yes' if found['map_is_the_living_items'] else 'NO'}."
    )


def freshness(found: dict[str, Any]) -> str:
    """How soon items could be retrieved, and how soon they were gone."""
    sent = found["sent_per_second"]
    lines = [
        f"{found['seconds']:.0f} s, {found['cores']} cores for everything, log: {found['log']}; "
        f"{sent['items']:,.0f} item events/s and {sent['engagements']:,.0f} engagements/s sent, "
        f"{found['learned_per_second']:,.0f} learned, {found['queries'] / found['seconds']:,.0f} queries/s; "
        f"{found['items_in_index']:,.0f} items known and {found['versions']} versions at the end, "
        f"{found['lag_records']:,.0f} records unread.", "",
        "| | count | p50 | p90 | p99 | longest |", "|---|--:|--:|--:|--:|--:|",
    ]  # fmt: skip
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


def ids(found: dict[str, Any]) -> str:
    """Cost of an id by table and batch."""
    lines = [
        f"{found['runs'][0]['ids']:,} ids, {found['cores']} cores, one thread. Microseconds per id.", "",
        "| table | ids per call | insert | longest call | look-up, even | look-up, Zipf | bytes per id |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]  # fmt: skip
    for run in found["runs"]:
        times = [f"{run[name]['per_id']:.2f}" for name in ("insert", "even", "zipf")]
        times.insert(1, f"{run['insert']['longest']:,.0f} ms")
        lines.append(f"| {run['table']} | {run['batch']:,} | {' | '.join(times)} | {run['bytes_per_id']:.0f} |")
    return "\n".join(lines)


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
        "HTTP answers checked by the oracle": lambda r: f"{r['answers_checked']:,}",
    }
    names = list(found)
    lines = [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {title} | {' | '.join(show(found[name]) for name in names)} |" for title, show in rows.items()]
    return "\n".join(lines)


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


def main() -> None:
    page = PAGE.read_text("utf-8")
    renders = {
        "quality": quality, "ablations": ablations, "speed": speed, "exact": exact, "demo": demo, "churn": churn,
        "kills": kills, "freshness": freshness, "ids": ids, "pipeline": pipeline, "publish": publish, "fuzz": fuzz,
        "workers": workers,
    }  # fmt: skip
    for name, render in renders.items():
        path = HERE / "results" / f"{'quality' if name == 'ablations' else name}.json"
        if path.exists():
            table = render(json.loads(path.read_text("utf-8")))
            between = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", re.DOTALL)
            page = between.sub(lambda _, table=table: f"{table}\n", page)
    PAGE.write_text(page, "utf-8")
    print(f"rewrote the tables of {PAGE.name}")


if __name__ == "__main__":
    main()

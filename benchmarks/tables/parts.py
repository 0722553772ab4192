"""What the parts cost: the step, the way to it, searches, id tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


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


def pipeline(found: dict[str, Any]) -> str:
    """Events per second of every log against the bare loop, and where the time goes."""
    stages = ("poll", "decode", "batch", "waited_while_learning", "step")
    titles = ("poll", "decode", "merge and batch", "waited for while learning", "the step itself")
    lines = [
        f"{found['data']}, {found['events']:,} events, {found['cores']} cores, configuration "
        f"`{found['config'][:12]}`, {found['rounds']} rounds.",
        "",
        f"| torch threads | log | events/s | bare loop | ratio | by round | {' | '.join(titles)} |",
        "|--:|---" + "|--:" * 9 + "|",
    ]
    for run in found["runs"]:
        threads = str(run["threads"])
        for name, of in run["logs"].items():
            rounds = ", ".join(f"{ratio:.2f}" for ratio in of["ratio_by_round"])
            times = [f"{of['microseconds_per_event'][stage]:.1f} us" for stage in stages]
            rates = [f"{of[loop]:,.0f}" for loop in ("events_per_second", "bare_events_per_second")]
            cells = [threads, name, *rates, f"{of['ratio']:.2f}", rounds, *times]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def workers(found: dict[str, Any]) -> str:
    """Events per second of one trainer and of several."""
    lines = [
        f"{found['data']}, {found['events']:,} events, {found['cores']} cores, one torch thread per worker.",
        "",
        "| workers | events per batch of each | per step | events/s, mean | by round |",
        "|--:|--:|--:|--:|---|",
    ]
    for run in found["runs"]:
        rounds, step = run["events_per_second"], run["workers"] * run["batch"]
        by_round = ", ".join(f"{rate:,.0f}" for rate in rounds)
        lines.append(f"| {run['workers']} | {run['batch']} | {step:,} | {np.mean(rounds):,.0f} | {by_round} |")
    return "\n".join(lines)


def hosts(found: dict[str, Any]) -> str:
    """How long one trainer over two hosts took to train again, by what happened to one of them."""
    bits = "bit for bit that" if found["same_checkpoint"] else "NOT that"
    lines = [
        f"{found['trained']:,} of {found['events']:,} events trained, {found['dead_lettered']} dead letters; the last "
        f"checkpoint is {bits} of an undisturbed run. torchrun's agents were started {found['agents_started']} times.",
        "",
        "| to one of the hosts | times | s until training goes on, median | longest |",
        "|---|--:|--:|--:|",
    ]
    for loss in dict.fromkeys(one["loss"] for one in found["losses"]):
        seconds = [one["seconds"] for one in found["losses"] if one["loss"] == loss]
        lines.append(f"| {loss} | {len(seconds)} | {np.median(seconds):.0f} | {max(seconds):.0f} |")
    return "\n".join(lines)


def exact(found: dict[str, Any]) -> str:
    """Share scored and milliseconds of the modes, medians over the queries."""
    alone = found["search_alone"]
    lines = [
        f"{found['events']:,} events each, {found['cores']} cores, one thread, configuration `{found['config'][:12]}`. "
        "Medians; time per request at a moment that was not asked about before / that was.",
        "",
        "| data, k | items | queries | exact scored (90th percentile) | beam scored | exact | exhaustive | beam |",
        "|---|---|---|---|---|---|---|---|",
    ]
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


def ids(found: dict[str, Any]) -> str:
    """Cost of an id by table and batch."""
    lines = [
        f"{found['runs'][0]['ids']:,} ids, {found['cores']} cores, one thread. Microseconds per id.",
        "",
        "| table | ids per call | insert | longest call | look-up, even | look-up, Zipf | bytes per id |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for run in found["runs"]:
        times = [f"{run[name]['per_id']:.2f}" for name in ("insert", "even", "zipf")]
        times.insert(1, f"{run['insert']['longest']:,.0f} ms")
        lines.append(f"| {run['table']} | {run['batch']:,} | {' | '.join(times)} | {run['bytes_per_id']:.0f} |")
    return "\n".join(lines)


def checkpoints(found: dict[str, Any]) -> str:
    """Pauses, times and sizes of checkpoints of large tables, and what they cost in throughput."""
    cost = found["cost"]
    rates = {kind: float(np.median(of)) for kind, of in cost["events_per_second"].items()}
    lines = [
        f"{found['rows']:,} items and as many users, {found['cores']} cores, one thread, configuration "
        f"`{found['config'][:12]}`.",
        "",
        "| written | longest pause | waited in all | copied after | durable and published after | file of it | "
        "one step: alone / while copied / while written |",
        "|---" + "|--:" * 6 + "|",
    ]
    for one in found["checkpoints"]:
        steps = (f"{one[when]['p50']:.0f}" for when in ("steps_alone", "steps_while_copying", "steps_while_writing"))
        cells = [
            one["kind"],
            f"{one['longest_pause_ms']:.1f} ms",
            f"{one['waited_ms']:,.0f} ms",
            f"{one['copied_seconds']:.1f} s",
            f"{one['handed_out_seconds']:.1f} s",
            f"{one['chain'][-1] / 1e6:,.0f} MB",
            f"{' / '.join(steps)} ms",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + (
        f"\n\n{cost['data']}, {cost['events']:,} events, a checkpoint every {cost['every']:,}: "
        f"{_rate(rates['with'])} with, "
        f"{_rate(rates['without'])} without them, medians of {len(cost['events_per_second']['with'])} runs each; "
        f"ratio {cost['ratio']:.3f}."
    )


def _rate(events: float) -> str:
    return f"{events:,.0f} events/s"

"""Detection of planted drift, over seeds."""

from __future__ import annotations

from statistics import median
from typing import Any

from scipy.stats import chi2

from benchmarks.drift.right_actions import RIGHT, first_alarms

# Events among which one false alarm is the goal.
_PER_EVENTS = 5_000_000

# Confidence of the bound on the rate of false alarms, the customary one.
_CONFIDENCE = 0.95

# Key of the recall lost although the action was taken.
_ACTED = "recall lost with rates"

TWINS = {"false": "as it is", "false with a rhythm": "with the rhythm of a day"}
"""Streams without a change: key of their alarms, and what they are."""


def drift(found: list[dict[str, Any]]) -> str:
    """Return the tables of the streams that were counted, of those that were learned, and of the actions chosen."""
    return "\n\n".join([_counted([run for run in found if not run["model"]]), *_learned(found), _chosen(found)])


def _chosen(found: list[dict[str, Any]]) -> str:
    """Return a row per change: its first alarms, and how often the recommended rule for them names the right action."""
    lines = ["| change | right action | first alarm, runs | its rule is right |", "|---|---|---|--:|"]
    chosen = first_alarms(found)
    for change, first in chosen.items():
        ranked = sorted(first.kinds.items(), key=lambda pair: (-pair[1], pair[0]))
        kinds = ", ".join(f"`{kind}` {count}" for kind, count in ranked)
        lines.append(f"| {change} | `{RIGHT[change]}` | {kinds} | {first.right} of {first.runs} |")
    right, runs = sum(first.right for first in chosen.values()), sum(first.runs for first in chosen.values())
    lines.append(f"| all | | | {right} of {runs} |")
    return "\n".join(lines)


def _counted(runs: list[dict[str, Any]]) -> str:
    """Return a column per stream: how many seeds found each change and when, and the false alarms."""
    streams = list(dict.fromkeys(run["stream"] for run in runs))
    by_stream = {name: [run for run in runs if run["stream"] == name] for name in streams}
    changes = list(dict.fromkeys(change for run in runs for change in run["plants"]))
    lines = [f"| change | {' | '.join(streams)} |", "|---" + "|--:" * len(streams) + "|"]
    for change in changes:
        cells = [_cell([run["plants"].get(change) for run in by_stream[name]]) for name in streams]
        lines.append(f"| {change} | {' | '.join(cells)} |")
    for key, meaning in TWINS.items():
        cells = [f"{sum(len(run[key]) for run in own)} in {_events(own):,}" for own in by_stream.values()]
        lines.append(f"| none, {meaning}: false alarms in events | {' | '.join(cells)} |")
    return "\n".join([*lines, "", _rate(runs)])


def _learned(found: list[dict[str, Any]]) -> list[str]:
    """Return a table per stream that was learned: when each change was found, and the recall lost, of each seed."""
    tables = []
    for name in dict.fromkeys(run["stream"] for run in found if run["model"]):
        runs = [run for run in found if run["model"] and run["stream"] == name]
        lines = [
            f"{name}, learned, {runs[0]['events']:,} events, seeds {', '.join(str(run['seed']) for run in runs)}; "
            f"{sum(len(run['false']) for run in runs)} false alarms; the signals took at most "
            f"{max(run['cost'] for run in runs):.1%} of the processor time of training.",
            "",
            "| change | found after | points of recall lost | with `rates` |",
            "|---|--:|--:|--:|",
        ]
        for change in runs[0]["plants"]:
            plants = [run["plants"][change] for run in runs]
            delays = " / ".join("missed" if plant["delay"] is None else f"{plant['delay']:,}" for plant in plants)
            lost = " / ".join(f"{plant['recall lost']:.1f}" for plant in plants)
            acted = " / ".join(f"{plant[_ACTED]:.1f}" for plant in plants if _ACTED in plant)
            lines.append(f"| {change} | {delays} | {lost} | {acted} |")
        tables.append("\n".join(lines))
    return tables


def _cell(plants: list[dict[str, Any] | None]) -> str:
    planted = [plant for plant in plants if plant is not None]
    if not planted:
        return "no values"
    delays = [plant["delay"] for plant in planted if plant["delay"] is not None]
    share = "" if len(delays) == len(planted) else f"{len(delays)} of {len(planted)}"
    if not delays:
        return share
    hours = median(plant["hours"] for plant in planted if plant["hours"] is not None)
    return f"{share + ': ' if share else ''}{median(delays):,.0f} / {max(delays):,}, {hours:,.3g} h"


def _rate(runs: list[dict[str, Any]]) -> str:
    """Say how many alarms of all signals together were false, and what rate that allows (Poisson, one-sided)."""
    plants = [plant for run in runs for plant in run["plants"].values()]
    missed = sum(plant["delay"] is None for plant in plants)
    false = sum(len(run[key]) for run in runs for key in TWINS)
    events = len(TWINS) * _events(runs)
    bound = float(chi2.ppf(_CONFIDENCE, 2 * (false + 1))) / 2
    return (
        f"{missed} of {len(plants)} changes missed. {false} false alarms in {events:,} quiet events, "
        f"{_PER_EVENTS * false / events:.2f} in five million; at most {_PER_EVENTS * bound / events:.2f} with 95% "
        "confidence, if seeds were independent."
    )


def _events(runs: list[dict[str, Any]]) -> int:
    return sum(run["events"] for run in runs)

"""The JSON summary of a run, and its consistency checks."""

from __future__ import annotations

from typing import Any

from hsnn.demo.checker import CheckResult
from hsnn.demo.figures import Figures


def outcome(figures: Figures, verdict: CheckResult, in_log: int) -> dict[str, Any]:
    """Summarise a finished run as JSON values.

    Parameters
    ----------
    in_log
        Engagements in the log, as counted by the checker.
    """
    probed, share = figures.probed(), figures.scored_share
    histogram = figures.freshness
    index, unanswered = figures.index, figures.unanswered_probes
    return {
        "events": {
            "produced": figures.produced,
            "trained": figures.trained,
            "dead_lettered": figures.dead_lettered,
            "dropped": sum(figures.dropped.values()),
            "pending": figures.pending,
        },
        "events_per_second": round(figures.events_per_second, 1),
        "replay_speed": round(figures.replay_speed, 1),
        "queries": figures.measured,
        **{f"recall_at_{cut}": _rounded(figures.recall.get(f"recall_at_{cut}")) for cut in (20, 50)},
        "scored_share": round(share, 5),
        "freshness_seconds": {"p50": _ms(probed and probed[0]), "p99": _ms(probed and probed[1])},
        "expired_returned": len(verdict.violations),
        "index": {
            "items": index.items,
            "new": index.new,
            "expired": index.expired,
            "nodes": index.nodes,
            "max_over_mean": round(index.max_over_mean, 3),
            "dead": index.dead,
        },
        "version": index.version,
        "data": figures.data,
        "log": figures.log,
        "seconds": round(figures.seconds, 2),
        "in_log": in_log,
        "dropped_reasons": figures.dropped,
        "queries_unmeasured": figures.unmeasured,
        "answers_checked": verdict.answers,
        "items_checked": verdict.items,
        "probes": {"answered": len(figures.probes) - unanswered, "unanswered": unanswered},
        "freshness_histogram_seconds": {"p50": _ms(histogram and histogram[0]), "p99": _ms(histogram and histogram[1])},
        "alarms": figures.alarms,
    }


def find_problems(figures: Figures, verdict: CheckResult, in_log: int) -> list[str]:
    """Return a sentence for every failed check; empty for a good run."""
    problems = []
    sum_ = figures.accounted + figures.pending
    if figures.produced != sum_:
        problems.append(f"the events do not add up: {figures.produced:,} were produced, {sum_:,} are accounted for")
    if unread := figures.pending - figures.waiting:
        problems.append(f"{unread:,} events were sent but never read by the trainer")
    if figures.waiting:
        problems.append(f"{figures.waiting:,} impressions still wait for labels")
    if in_log != figures.produced:
        problems.append(f"the log holds {in_log:,} events, the producer says it sent {figures.produced:,}")
    if figures.dead_lettered:
        problems.append(f"{figures.dead_lettered:,} events of the data set went to the dead letters")
    if not figures.index.version:
        problems.append("no version of the index was ever served: there were too few events, or none was learned")
    if verdict.violations:
        first = verdict.violations[0]
        problems.append(
            f"{len(verdict.violations):,} expired items were returned, the first one {first.item} to user {first.user} "
            f"at watermark {first.as_of} by version {first.version}"
        )
    return problems


def _rounded(found: dict[str, float] | None) -> dict[str, float | None]:
    return {method: round(found[method], 5) if found else None for method in ("served", "popularity")}


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)

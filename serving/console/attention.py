"""What needs a person: sentences about the state of the loop, each with the part of the operations page that helps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

import msgspec

from hsnn.indexer.jobs.history import JobView, RunOutcome
from hsnn.serving.console.progress import LoopState, recent_recall
from hsnn.serving.console.request_meter import Rates

# Live queries from which on a recall is judged: its standard error is some two points then.
_JUDGED = 400

# Seconds of lag from which on the model is said to be behind: what people did before that is not in the answers.
_LATE = 60.0

# Share of the events read that may be lost to dead letters or dropped before that is said.
_LOST_SHARE = 0.01

# Milliseconds of the 99% quantile from which on requests are called slow: the objective is tens of milliseconds.
_SLOW_MS = 250.0


class Severity(StrEnum):
    """How soon somebody should look; the values are part of the console's interface."""

    BAD = "bad"
    """Something does not work."""

    WARN = "warn"
    """Something works worse than it should."""


class Notice(msgspec.Struct, frozen=True):
    """A sentence for the operator.

    Attributes
    ----------
    severity
        See `Severity`.
    text
        What is wrong.
    todo
        What to do about it.
    section
        Heading of the operations page, as the anchor of a link.
    """

    severity: Severity
    text: str
    todo: str
    section: str


class ServerState(NamedTuple):
    """What this server knows of itself.

    Attributes
    ----------
    version
        Version of the index that answers; 0 before the first.
    items
        Retrievable items.
    ready
        What `hsnn.monitoring.health.Health.readiness` says.
    rates
        Of the last half minute.
    """

    version: int
    items: int | None
    ready: bool
    rates: Rates


def notices(state: LoopState, server: ServerState) -> list[Notice]:
    """List what needs attention, the worst first.

    Examples
    --------
    >>> nothing = Rates(*(None,) * len(Rates._fields))
    >>> state = LoopState({}, trainer=None, scheduler="host/1", current=None, jobs=[], hold=None)
    >>> for notice in notices(state, ServerState(version=0, items=None, ready=False, rates=nothing)):
    ...     print(notice.severity, notice.text)
    bad No trainer runs: nothing that people do is learned.
    warn There is no version of the index yet, so no request can be answered.
    """
    found = [*_processes(state, server), *_learning(state), *_quality(state), *_jobs(state), *_requests(server)]
    return sorted(found, key=lambda notice: notice.severity is not Severity.BAD)


def _processes(state: LoopState, server: ServerState) -> Iterator[Notice]:
    if state.trainer is None:
        yield Notice(
            Severity.BAD,
            "No trainer runs: nothing that people do is learned.",
            "Start `hsnn train`; its log says why it ended.",
            "what-can-go-wrong",
        )
    if state.scheduler is None:
        yield Notice(
            Severity.BAD,
            "No scheduler leads: new items do not reach the index.",
            "Start `hsnn schedule`.",
            "what-can-go-wrong",
        )
    if not server.version:
        yield Notice(
            Severity.WARN,
            "There is no version of the index yet, so no request can be answered.",
            "It comes with the first training steps; until then, send items and events.",
            "first-start",
        )
    elif state.current is not None and state.current != server.version:
        yield Notice(
            Severity.WARN,
            f"This server answers from version {server.version}, and version {state.current} is in use.",
            "That takes a moment after each version; if it lasts, look at the server's log.",
            "server",
        )
    if state.hold is not None:
        yield Notice(
            Severity.WARN,
            f"Publishing is held by {state.hold.by}: {state.hold.reason}.",
            "Release it once the trainer is right again.",
            "rollback-of-the-index",
        )


def _learning(state: LoopState) -> Iterator[Notice]:
    progress = state.progress
    if progress.get("held"):
        yield Notice(
            Severity.BAD,
            f"The trainer holds its snapshots back: {progress['held']}.",
            "See whether the meaning of events, the rates or the configuration changed.",
            "quality-cliff",
        )
    if progress.get("lag_seconds", 0.0) > _LATE:
        yield Notice(
            Severity.WARN,
            f"Learning is {progress['lag_seconds']:,.0f} s ({progress.get('lag_records', 0):,} records) behind.",
            "If it grows, the trainer is too slow for the stream.",
            "trainer",
        )
    learned, letters = progress.get("trained", 0), progress.get("dead_lettered", 0)
    if letters > _LOST_SHARE * max(learned + letters, 1):
        yield Notice(
            Severity.WARN,
            f"{letters:,} events became dead letters, {letters / (learned + letters):.1%} of all.",
            "Look at the samples under Stream; correct the producer, then replay them.",
            "dead-letters",
        )
    if state.dropped > _LOST_SHARE * max(learned + state.dropped, 1):
        reason, count = max(progress["dropped"].items(), key=lambda pair: pair[1])
        yield Notice(
            Severity.WARN,
            f"{state.dropped:,} events were read and not learned, most of them as `{reason}` ({count:,}).",
            "The table of the trainer's metrics explains each reason.",
            "trainer",
        )
    if lost := sum((progress.get("lost") or {}).values()):
        yield Notice(
            Severity.BAD,
            f"{lost:,} records were gone from the log before they were read.",
            "Give the log a retention longer than your longest outage.",
            "checkpoints-and-restart",
        )


def _quality(state: LoopState) -> Iterator[Notice]:
    progress, recall = state.progress, recent_recall(state.progress)
    measured, unmeasured = progress.get("measured", 0), progress.get("unmeasured", 0)
    if unmeasured > measured:
        yield Notice(
            Severity.WARN,
            f"Of the live test queries only {measured:,} were answered in time, {unmeasured:,} were not.",
            "The server is too slow, or trainer.server is wrong.",
            "trainer",
        )
    baselines = {method: value for method, value in recall.items() if method != "served"}
    if measured < _JUDGED or not baselines or "served" not in recall:
        return
    best = max(baselines, key=lambda method: baselines[method])
    if recall["served"] < baselines[best]:
        yield Notice(
            Severity.WARN,
            f"Answers hold {recall['served']:.1%} of what people choose next, and {best} alone {baselines[best]:.1%}.",
            "A young model does; if it lasts, look for a quality cliff and for drift.",
            "quality-cliff",
        )


def _jobs(state: LoopState) -> Iterator[Notice]:
    for job in state.jobs:
        last = job.state.last
        if job.state.overrun_since is not None:
            seconds = time.time() - job.state.overrun_since / 1000
            yield Notice(
                Severity.BAD,
                f"The job {job.name} is over its time limit, for {seconds:,.0f} s.",
                "It stops at its next safe point; its history says where it stopped before.",
                "jobs",
            )
        elif last is not None and last.outcome == RunOutcome.FAILED:
            yield Notice(
                Severity.BAD,
                f"The last run of the job {job.name} failed: {last.detail or 'the log says why'}",
                "It is tried again; the scheduler's log has the details.",
                "jobs",
            )
        if job.paused:
            yield _paused(job)


def _paused(job: JobView) -> Notice:
    return Notice(Severity.WARN, f"The job {job.name} is paused.", "Resume it under Drift and jobs.", "jobs")


def _requests(server: ServerState) -> Iterator[Notice]:
    rates = server.rates
    if rates.errors_per_second:
        yield Notice(
            Severity.BAD,
            f"{rates.errors_per_second:.2g} requests per second fail inside of the server.",
            "Its log says why.",
            "server",
        )
    if rates.p99_ms is not None and rates.p99_ms > _SLOW_MS:
        yield Notice(
            Severity.WARN,
            f"One request in a hundred takes more than {rates.p99_ms:,.0f} ms.",
            "Look at hsnn_request_scored and hsnn_request_dots; give the server a core.",
            "server",
        )

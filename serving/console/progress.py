"""What trainer and scheduler say in Redis about how far they are, and whether they run."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from hsnn.indexer.jobs.history import JobView, list_jobs
from hsnn.indexer.store.publish_hold import PublishHold, current_hold
from hsnn.indexer.store.reader import IndexReader
from hsnn.streaming.redis.keys import key


class LoopState(NamedTuple):
    """The loop as Redis has it.

    Attributes
    ----------
    progress
        Fields of the trainer's progress (`docs/index-layout.md`); empty before its first.
    trainer, scheduler
        ``HOST/PID`` of the living trainer, and of the leading scheduler; None if there is none.
    current
        Version that readers use; None before the first.
    jobs
        Of the scheduler.
    hold
        Why publishing is held, if it is.
    """

    progress: dict[str, Any]
    trainer: str | None
    scheduler: str | None
    current: int | None
    jobs: list[JobView]
    hold: PublishHold | None

    @property
    def dropped(self) -> int:
        """Engagements that were read and not learned."""
        return sum(self.progress.get("dropped", {}).values())


def read_loop_state(reader: IndexReader) -> LoopState:
    """Read progress, owners, pointer, jobs and hold."""
    fields: Any = reader.redis.hgetall(key("progress"))
    return LoopState(
        progress={name.decode(): json.loads(value) for name, value in fields.items()},
        trainer=_owner(reader.redis.get(key("trainer", "lease"))),
        scheduler=_owner(reader.redis.get(key("lease"))),
        current=reader.current(),
        jobs=list_jobs(reader),
        hold=current_hold(reader),
    )


def recent_recall(progress: dict[str, Any]) -> dict[str, float]:
    """Return the recall at 20 of the last live queries by method; empty before the first answer.

    Examples
    --------
    >>> recent_recall({"recent": {"recall_at_20": {"served": 0.3, "popularity": 0.1}, "recall_at_50": {}}})
    {'served': 0.3, 'popularity': 0.1}
    """
    recall: dict[str, float] = (progress.get("recent") or {}).get("recall_at_20", {})
    return recall


def recent_signals(progress: dict[str, Any]) -> list[dict[str, Any]]:
    """List the drift signals with the values of their last windows, oldest first; none before the first window.

    Examples
    --------
    >>> recent_signals({"signals": {"users_rate": [[1000, 0.5], [2000, 0.75]]}})
    [{'name': 'users_rate', 'ends': [1000, 2000], 'values': [0.5, 0.75]}]
    """
    signals: dict[str, list[tuple[int, float]]] = progress.get("signals") or {}
    return [
        {"name": name, "ends": [end for end, _ in recent], "values": [value for _, value in recent]}
        for name, recent in sorted(signals.items())
    ]


def _owner(value: Any) -> str | None:
    """Return the process that holds a lease, ``TOKEN:PROCESS``."""
    return None if value is None else str(value.decode(errors="replace")).partition(":")[2]

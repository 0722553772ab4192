"""Answers to alarms: every alarm of the stream gets its rule's action, once, and a place in the audit trail."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from hsnn.indexer.deadline import safe_point
from hsnn.indexer.errors import FencedError, HeldError, SnapshotGoneError
from hsnn.indexer.store.reader import IndexReader
from hsnn.indexer.store.streams import START, Entry, Fields, follow
from hsnn.indexer.store.version import VersionManifest
from hsnn.monitoring.alarms import Alarm, AlarmRules
from hsnn.monitoring.audit import AuditTrail

_log = logging.getLogger(__name__)
_REMEMBERED = 1000

Refresh = Callable[[int | None, str], VersionManifest | None]
"""Bring the index up to a snapshot (None: the newest), for a reason; the version that readers use then."""


class _Done(NamedTuple):
    outcome: str
    version: int | None = None
    detail: dict[str, Any] = {}  # noqa: RUF012 - never changed


class AlarmAnswers:
    """Reads the alarm stream from where the last answer was noted.

    An alarm whose answer was cut short by a crash is answered again: a refresh may be repeated, a missing one not made
    up for. An alarm that the trainer raises again because it replays the same events has the same id, and is passed.

    Parameters
    ----------
    reader
        Where the streams are.
    rules
        Kind of alarm -> action.
    audit
        Where alarm, action and outcome are written.
    refresh
        The one action there is besides ``none``.
    """

    def __init__(self, reader: IndexReader, rules: AlarmRules, audit: AuditTrail, refresh: Refresh) -> None:
        self._reader = reader
        self._rules = rules
        self._audit = audit
        self._refresh = refresh
        self._position, self._answered = reader.key("alarms", "position"), reader.key("alarms", "answered")

    def answer_all(self) -> int:
        """Answer what has no answer yet; return how many alarms that were."""
        at: Any = self._reader.redis.get(self._position)
        count = 0
        for entry in follow(self._reader.redis, self._reader.key("alarms"), at.decode() if at else START):
            count += self._answer(entry)
            safe_point("between two alarms")
        return count

    def _answer(self, entry: Entry) -> bool:
        alarm = _read(entry)
        fresh = alarm is not None and self._reader.redis.zscore(self._answered, alarm.id) is None
        if alarm is not None and fresh:
            self._act(alarm, entry.fields)
        self._note(entry.id, alarm)
        return fresh

    def _act(self, alarm: Alarm, fields: Fields) -> None:
        action = self._rules.action_for(alarm.kind)
        self._audit.record(
            "alarm",
            kind=alarm.kind,
            alarm=alarm.id,
            ts=alarm.ts,
            value=alarm.value,
            threshold=alarm.threshold,
            text=alarm.detail,
        )
        self._audit.record("action", kind=alarm.kind, alarm=alarm.id, action=action)
        done = self._refreshed(alarm, fields) if action == "refresh" else _Done("noted")
        self._audit.record(
            "outcome",
            kind=alarm.kind,
            alarm=alarm.id,
            action=action,
            outcome=done.outcome,
            version=done.version,
            **done.detail,
        )

    def _refreshed(self, alarm: Alarm, fields: Fields) -> _Done:
        named = int(fields.get(b"snapshot") or 0)
        try:
            manifest = self._refresh(named or None, f"alarm:{alarm.kind}")
        except FencedError:
            raise  # the next leader answers
        except SnapshotGoneError as error:
            return _Done("failed", None, {"error": str(error)})
        except HeldError as error:
            return _Done("held", None, {"error": str(error)})
        if manifest is None:
            return _Done("failed", None, {"error": "the trainer has not published a snapshot yet"})
        return _Done("done", manifest.version, {"snapshot": manifest.snapshot, "published_for": manifest.reason})

    def _note(self, entry_id: str, alarm: Alarm | None) -> None:
        pipeline = self._reader.redis.pipeline(transaction=True)
        pipeline.set(self._position, entry_id)
        if alarm is not None:
            pipeline.zadd(self._answered, {alarm.id: time.time()})
            pipeline.zremrangebyrank(self._answered, 0, -_REMEMBERED - 1)
        pipeline.execute()


def _read(entry: Entry) -> Alarm | None:
    try:
        return Alarm.decode(entry.fields[b"d"])
    except (KeyError, msgspec.MsgspecError) as error:
        _log.error("entry %s of %s is no alarm and is passed over: %s", entry.id, entry.stream, error)
        return None

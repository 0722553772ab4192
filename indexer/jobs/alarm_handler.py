"""AlarmHandler: carry out the action of each alarm of the stream, once, and record it in the audit trail."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from hsnn.indexer.errors import FencedError, PublishHeldError, SnapshotNotFoundError
from hsnn.indexer.job_context import check_deadline
from hsnn.indexer.jobs.action_policy import ActionPolicy
from hsnn.indexer.jobs.alarm_actions import ActionResult, CarryOut
from hsnn.indexer.store.reader import IndexReader
from hsnn.indexer.store.streams import STREAM_START, Fields, StreamEntry, scan_entries
from hsnn.indexer.store.version import VersionManifest
from hsnn.monitoring.alarms import Alarm, AlarmRules
from hsnn.monitoring.audit import AuditTrail
from hsnn.monitoring.config import Action

_log = logging.getLogger(__name__)

# Ids of handled alarms that are remembered: an alarm is raised again only while its events are replayed, which is soon.
_IDS_REMEMBERED = 1000


Refresh = Callable[[int | None, str], VersionManifest | None]
"""Bring the index up to a snapshot (None: the newest), for a reason; returns the newest version after that."""


Notify = Callable[[str, Mapping[str, Any]], Mapping[str, str]]
"""Tells a sentence with facts; returns what went wrong, by channel."""


class AlarmHandler:
    """Handles the alarm stream from where the last handled alarm was noted.

    An alarm whose handling was cut short by a crash is handled again: a refresh may be done twice but must not be left
    out. An alarm that the trainer raises again because it replays the same events has the same id and is skipped.

    Parameters
    ----------
    reader
        Where the streams are.
    rules
        Actions by kind of alarm.
    audit
        Where alarm, action and outcome are recorded.
    refresh
        Carries out the action ``refresh``.
    actions
        Carry out the others.
    policy
        Decides whether an action may be taken; None: every one may.
    notify
        Tells people of an alarm with a rule, and of what was done.
    own
        Returns the alarms that this scheduler raises itself, again and again for as long as they hold.
    """

    def __init__(
        self,
        reader: IndexReader,
        rules: AlarmRules,
        audit: AuditTrail,
        refresh: Refresh,
        actions: Mapping[Action, CarryOut] | None = None,
        policy: ActionPolicy | None = None,
        notify: Notify = lambda subject, facts: {},  # noqa: ARG005
        own: Callable[[], Iterable[Alarm]] = tuple,
    ) -> None:
        self._reader = reader
        self._actions, self._policy, self._notify, self._own = actions or {}, policy, notify, own
        self._rules = rules
        self._audit = audit
        self._refresh = refresh
        self._position_key, self._handled_key = reader.key("alarms", "position"), reader.key("alarms", "answered")

    def handle_all(self) -> int:
        """Handle the alarms that were not handled yet, and measure earlier actions; return the number of alarms."""
        position: Any = self._reader.redis.get(self._position_key)
        count = 0
        for entry in scan_entries(
            self._reader.redis, self._reader.key("alarms"), position.decode() if position else STREAM_START
        ):
            count += self._handle(entry)
            check_deadline("between two alarms")
        for alarm in self._own():
            if self._is_new(alarm):
                self._act(alarm, {})
                self._note_handled(self._reader.redis, alarm)
                count += 1
        if self._policy is not None:
            self._policy.measure()
        return count

    def _handle(self, entry: StreamEntry) -> bool:
        alarm = _decode(entry)
        fresh = alarm is not None and self._is_new(alarm)
        if alarm is not None and fresh:
            self._act(alarm, entry.fields)
        self._store_position(entry.id, alarm)
        return fresh

    def _is_new(self, alarm: Alarm) -> bool:
        return self._reader.redis.zscore(self._handled_key, alarm.id) is None

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
            **_told(alarm),
        )
        self._audit.record("action", kind=alarm.kind, alarm=alarm.id, action=action)
        result = self._carry_out(alarm, action, fields)
        detail = result.detail
        if action != "none":
            detail = detail | self._tell(alarm, action, result)
        self._audit.record(
            "outcome",
            kind=alarm.kind,
            alarm=alarm.id,
            action=action,
            outcome=result.outcome,
            version=result.version,
            **detail,
        )

    def _carry_out(self, alarm: Alarm, action: Action, fields: Fields) -> ActionResult:
        refusal = None if self._policy is None else self._policy.refusal(alarm, action)
        if refusal is not None:
            return ActionResult(refusal.outcome, None, {"reason": refusal.reason})
        if action == "refresh":
            return self._refresh_for(alarm, fields)
        if action in ("notify", "none"):
            return ActionResult("noted")
        if action not in self._actions:
            return ActionResult("failed", None, {"error": f"this scheduler cannot do {action}"})
        result = self._actions[action](alarm)
        if self._policy is not None and result.outcome == "done":
            self._policy.note(alarm, action)
        return result

    def _tell(self, alarm: Alarm, action: Action, result: ActionResult) -> dict[str, Any]:
        """Notify; return what went wrong, for the audit trail."""
        subject = f"{alarm.kind}: {alarm.detail or alarm.value}; {action}: {result.outcome}"
        facts = {"alarm": alarm.id, "kind": alarm.kind, "ts": alarm.ts, "value": alarm.value, "action": action}
        failed = self._notify(subject, facts | _told(alarm) | {"outcome": result.outcome, "version": result.version})
        return {"not_notified": dict(failed)} if failed else {}

    def _refresh_for(self, alarm: Alarm, fields: Fields) -> ActionResult:
        named = int(fields.get(b"snapshot") or 0)
        try:
            manifest = self._refresh(named or None, f"alarm:{alarm.kind}")
        except FencedError:
            raise  # the next leader handles it
        except SnapshotNotFoundError as error:
            return ActionResult("failed", None, {"error": str(error)})
        except PublishHeldError as error:
            return ActionResult("held", None, {"error": str(error)})
        if manifest is None:
            return ActionResult("failed", None, {"error": "the trainer has not published a snapshot yet"})
        return ActionResult("done", manifest.version, {"snapshot": manifest.snapshot, "published_for": manifest.reason})

    def _store_position(self, entry_id: str, alarm: Alarm | None) -> None:
        pipeline = self._reader.redis.pipeline(transaction=True)
        pipeline.set(self._position_key, entry_id)
        if alarm is not None:
            self._note_handled(pipeline, alarm)
        pipeline.execute()

    def _note_handled(self, redis: Any, alarm: Alarm) -> None:
        """Remember an alarm, by a client or in a pipeline."""
        redis.zadd(self._handled_key, {alarm.id: time.time()})
        redis.zremrangebyrank(self._handled_key, 0, -_IDS_REMEMBERED - 1)


def _told(alarm: Alarm) -> dict[str, Any]:
    """Return what only some detectors tell."""
    facts = {"since": alarm.since, "before": alarm.before, "segment": alarm.segment, "also": list(alarm.also)}
    return {name: value for name, value in facts.items() if value not in (0, None, "", [])}


def _decode(entry: StreamEntry) -> Alarm | None:
    try:
        return Alarm.decode(entry.fields[b"d"])
    except (KeyError, msgspec.MsgspecError) as error:
        _log.error("entry %s of %s is not an alarm and is skipped: %s", entry.id, entry.stream, error)
        return None

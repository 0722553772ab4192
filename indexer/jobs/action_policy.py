"""When an action on an alarm may be taken: limits, cool-down, snooze, and whether it helped the last time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from hsnn.indexer.store import lua_scripts
from hsnn.indexer.store.reader import IndexReader
from hsnn.indexer.store.writer import IndexStore
from hsnn.monitoring.alarms import Alarm
from hsnn.monitoring.audit import AuditTrail
from hsnn.monitoring.config import Action, ActionsConfig

UNLIMITED: frozenset[Action] = frozenset({"refresh", "notify", "none"})
"""Actions that cannot harm."""

_SIGNAL_OF = {"loss_drift": "model_loss", "mix_drift": "model_recall"}
"""Signals by which the effect of an action is measured, for alarms that no signal raised."""

# Actions remembered: those of some days.
_KEPT = 200

# Confidence of the interval of an effect.
_CONFIDENCE = 0.95

# Seconds that `per_hour` counts in.
_HOUR = 3600.0


class ActionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An action that was taken.

    Attributes
    ----------
    alarm, kind, action
    at
        Wall time, epoch s.
    watermark
        Stream time of the action, epoch ms.
    before
        Values of the signal while it was shifted, before the action took effect.
    usual
        Value before the shift, if the alarm tells.
    effect
        ``pending``, ``helped``, ``no help``, or ``unknown``.
    """

    alarm: str
    kind: str
    action: str
    at: float
    watermark: int
    before: tuple[float, ...] = ()
    usual: float | None = None
    effect: str = "pending"


class ActionRefusal(NamedTuple):
    """Why an action is not taken: an outcome for the audit trail, and a sentence."""

    outcome: str
    reason: str


class Effect(NamedTuple):
    """Means of a signal before and after an action, and the interval of the improvement, positive where it helped."""

    before: float
    after: float
    low: float
    high: float


class ActionPolicy:
    """Decides on actions, and measures what came of them.

    Parameters
    ----------
    store
        With the lease: what was done is kept for the next leader.
    config, audit
    clock
        Epoch seconds, for tests.
    """

    def __init__(
        self, store: IndexStore, config: ActionsConfig, audit: AuditTrail, clock: Callable[[], float] = time.time
    ) -> None:
        self._store, self._config, self._audit, self._clock = store, config, audit, clock

    def refusal(self, alarm: Alarm, action: Action) -> ActionRefusal | None:
        """Return why an action may not be taken now; None if it may."""
        now = self._clock()
        until = snoozed_until(self._store, alarm.kind)
        if until > now and action != "none":
            return ActionRefusal("snoozed", f"alarms of this kind are snoozed for another {until - now:.0f} s")
        if action in UNLIMITED:
            return None
        records, config = self.records(), self._config
        same = [record for record in records if record.kind == alarm.kind and record.action == action]
        useless = next((r for r in reversed(same) if r.effect == "no help" and now - r.at < config.forget), None)
        if useless is not None:
            return ActionRefusal("not repeated", f"it did not help against {useless.alarm}; decide by hand")
        if any(record.kind == alarm.kind and now - record.at < config.cool_down for record in records):
            return ActionRefusal("cool down", f"an action on this kind was taken less than {config.cool_down:g} s ago")
        if sum(now - record.at < _HOUR for record in records) >= config.per_hour:
            return ActionRefusal("limit", f"{config.per_hour} actions were taken within the last hour")
        return ActionRefusal("dry run", "monitoring.actions.dry_run is set") if config.dry_run else None

    def note(self, alarm: Alarm, action: Action) -> None:
        """Remember an action that was taken, with the signal as it is."""
        if action in UNLIMITED:
            return
        before = tuple(value for end, value in self._recent(alarm.kind) if end >= alarm.since)
        record = ActionRecord(
            alarm=alarm.id,
            kind=alarm.kind,
            action=action,
            at=self._clock(),
            watermark=self._watermark(),
            before=before[-self._config.measure_windows :],
            usual=alarm.before,
        )
        self._save([*self.records(), record][-_KEPT:])

    def measure(self) -> list[Effect]:
        """Measure the effects that can be measured by now, and put them on record."""
        records, effects = self.records(), []
        for index, record in enumerate(records):
            if record.effect != "pending":
                continue
            after = [value for end, value in self._recent(record.kind) if end > record.watermark]
            late = self._clock() - record.at > self._config.measure_within
            if len(after) >= self._config.measure_windows and len(record.before) >= 2:
                effect = compare(record, after[: self._config.measure_windows])
                effects.append(effect)
                helped = "helped" if effect.low > 0 else "no help"
                records[index] = msgspec.structs.replace(record, effect=helped)
                self._put_on_record(record, helped, **effect._asdict())
            elif late:
                records[index] = msgspec.structs.replace(record, effect="unknown")
                self._put_on_record(record, "unknown", reason="the signal was not measured often enough since")
        if any(record.effect != old.effect for record, old in zip(records, self.records(), strict=True)):
            self._save(records)
        return effects

    def records(self) -> list[ActionRecord]:
        """Read the actions taken so far, oldest first."""
        blob: Any = self._store.redis.get(self._store.key("alarms", "actions"))
        return [] if blob is None else msgspec.json.decode(blob, type=list[ActionRecord])

    def _put_on_record(self, record: ActionRecord, outcome: str, **detail: Any) -> None:
        self._audit.record(
            "effect", kind=record.kind, alarm=record.alarm, action=record.action, outcome=outcome, **detail
        )

    def _save(self, records: Sequence[ActionRecord]) -> None:
        self._store.run_script(
            lua_scripts.SET_VALUE,
            keys=(self._store.key("alarms", "actions"),),
            arguments=(msgspec.json.encode(records),),
            purpose="note of an action",
        )

    def _recent(self, kind: str) -> list[tuple[int, float]]:
        """Read the last values of the signal that an alarm of this kind is about."""
        blob: Any = self._store.redis.hget(self._store.key("progress"), "signals")
        signals = {} if blob is None else msgspec.json.decode(blob, type=dict[str, list[tuple[int, float]]])
        return signals.get(_SIGNAL_OF.get(kind, kind), [])

    def _watermark(self) -> int:
        return int(self._store.redis.hget(self._store.key("progress"), "watermark") or 0)


def compare(record: ActionRecord, after: Sequence[float]) -> Effect:
    """Compare a signal before and after an action: Welch's interval of how far it came back.

    Examples
    --------
    >>> taken = ActionRecord(
    ...     alarm="model_loss:1", kind="model_loss", action="rates", at=0.0, watermark=0, before=(6.0, 6.1, 5.9)
    ... )
    >>> effect = compare(taken, [5.0, 5.1, 4.9, 5.0])
    >>> round(effect.before - effect.after, 2), effect.low > 0
    (1.0, True)
    >>> compare(taken, [6.0, 6.1, 5.9, 6.2]).low > 0
    False
    """
    before, after = list(record.before), list(after)
    mean_before, mean_after = sum(before) / len(before), sum(after) / len(after)
    sign = _bad_direction(record, mean_before)
    if len({*before, *after}) == 1:  # no spread at all: nothing has changed
        return Effect(mean_before, mean_after, 0.0, 0.0)
    from scipy import stats  # the scheduler has it; `hsnn drift`, which snoozes, need not

    interval = stats.ttest_ind([sign * value for value in before], [sign * value for value in after], equal_var=False)
    low, high = interval.confidence_interval(_CONFIDENCE)
    return Effect(mean_before, mean_after, float(low), float(high))


def _bad_direction(record: ActionRecord, shifted: float) -> int:
    """Return 1 where the signal was too high, -1 where it was too low."""
    if record.usual is not None:
        return 1 if shifted >= record.usual else -1
    name = _SIGNAL_OF.get(record.kind, record.kind)
    from hsnn.monitoring.watching.monitor import declared_groups  # it needs SciPy, too

    declared = {signal.name: signal for group in declared_groups().values() for signal in group.signals}
    return -1 if name in declared and declared[name].worse == "down" else 1


def snoozed_until(reader: IndexReader, kind: str) -> float:
    """Read until when alarms of a kind cause no action, epoch s; 0 if they do."""
    return float(reader.redis.hget(reader.key("alarms", "snoozed"), kind) or 0)


def snooze(reader: IndexReader, kind: str, until: float) -> None:
    """Have alarms of a kind cause no action until then, epoch s; 0 ends it."""
    reader.redis.hset(reader.key("alarms", "snoozed"), kind, until)

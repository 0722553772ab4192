"""Check every answer of a run against a replay of the log, without any code of the server.

An item may be returned at watermark W if its last item event up to W, or any later one, shows that it is live: not
deleted, not past its `expires_at`, not before its `available_from`. The catalogue is read as it comes, so that a later
event may have counted by then. Where idle items expire, it must also be engaged or announced later than W minus the
idle time. An impression counts only where it is the first record of the item.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.decode.decoder import decode_records
from hsnn.streaming.decode.event_table import RowKind
from hsnn.streaming.log.base import EventLog
from hsnn.streaming.log.records import Position
from hsnn.streaming.schema.events import Impression, Item, ItemDeletion, ItemEvent
from hsnn.streaming.schema.topics import TopicRole

# Records per poll: some megabytes.
_POLL_RECORDS = 20_000

# Epoch ms later than any event.
_NEVER = 1 << 62


class ItemRecord(NamedTuple):
    """An item event: at `ts` the item was deleted, or is live in `available_from` to `expires_at` (all epoch ms)."""

    ts: int
    deleted: bool
    expires_at: int = _NEVER
    available_from: int = 0

    def is_live(self, watermark: int) -> bool:
        """Return whether the item is live at `watermark`, as far as this event says."""
        return not self.deleted and self.available_from <= watermark < self.expires_at


@dataclass
class ItemLifetime:
    """Records of one item: times of engagements and announcements (epoch ms), first impression, item events."""

    signs: list[int] = field(default_factory=list)
    shown: int = _NEVER
    facts: list[ItemRecord] = field(default_factory=list)

    def add_item_event(self, event: ItemEvent) -> None:
        """Add an item event, if it is no older than the one before: what it does not name stays as it was."""
        last = self.facts[-1] if self.facts else ItemRecord(0, True)
        ts = last.ts if event.ts is None else event.ts
        if ts < last.ts:
            return
        if isinstance(event, ItemDeletion):
            self.facts.append(ItemRecord(ts, True))
            return
        if isinstance(event, Item):
            self.signs.append(ts)
        elif last.deleted:
            return
        ends = (
            _changed(last.expires_at, event.expires_at, _NEVER),
            _changed(last.available_from, event.available_from, 0),
        )
        self.facts.append(ItemRecord(ts, False, *ends))

    def sort_by_time(self) -> None:
        """Sort the signs by event time; item events are in order already."""
        self.signs.sort()
        if self.shown < (self.signs[0] if self.signs else _NEVER):
            self.signs.insert(0, self.shown)

    def may_be_returned(self, watermark: int, idle_ms: int | None) -> bool:
        """Return whether the item is live at `watermark`.

        Examples
        --------
        >>> life = ItemLifetime(signs=[100])
        >>> life.may_be_returned(109, 10), life.may_be_returned(110, 10), life.may_be_returned(10**9, None)
        (True, False, True)
        """
        known = bisect_right(self.facts, watermark, key=lambda fact: fact.ts)
        if known and not any(fact.is_live(watermark) for fact in self.facts[known - 1 :]):
            return False
        if idle_ms is None or any(not fact.deleted for fact in self.facts[known:]):
            return True
        seen = bisect_right(self.signs, watermark)
        # The index may know the first record of an item just before the watermark reaches it: new, not expired.
        return seen == 0 or self.signs[seen - 1] > watermark - idle_ms


ItemLifetimes = dict[str, ItemLifetime]


class Violation(NamedTuple):
    """An item in an answer that was not live."""

    item: str
    as_of: int
    user: str
    version: int


@dataclass
class CheckResult:
    """The result of a check.

    Attributes
    ----------
    answers, items
        Answers checked, and items in them.
    violations
        Expired, deleted or unknown items, one per occurrence.
    """

    answers: int = 0
    items: int = 0
    violations: list[Violation] = field(default_factory=list)


def check_run(
    event_log: EventLog, config: StreamingConfig, answers: Path, idle: float | None
) -> tuple[CheckResult, int]:
    """Check all answers of a run against its log.

    Parameters
    ----------
    event_log
        An open log of its own: the read position is moved.
    config
        Names of the topics.
    answers
        The server's answer log.
    idle
        `expire_after_idle`, seconds.

    Returns
    -------
    CheckResult, int
        The result, and the number of engagements in the log.
    """
    lives, engagements = replay(event_log, config)
    return check(lives, read_answers(answers), None if idle is None else int(idle * 1000)), engagements


def check(lives: ItemLifetimes, answers: Iterable[dict[str, object]], idle_ms: int | None) -> CheckResult:
    """Check answers, as in `hsnn.serving.api.request_log.RequestLog`; ."""
    verdict = CheckResult()
    for answer in answers:
        as_of, items = int(str(answer["as_of"])), answer["items"]
        assert isinstance(items, list)
        verdict.answers += 1
        verdict.items += len(items)
        for item in items:
            life = lives.get(item)
            if life is None or not life.may_be_returned(as_of, idle_ms):
                verdict.violations.append(Violation(item, as_of, str(answer["user"]), int(str(answer["version"]))))
    return verdict


def read_answers(file: Path) -> Iterator[dict[str, object]]:
    """Yield the answers of a log; none if there is no file."""
    if file.exists():
        with file.open("rb") as lines:
            yield from map(msgspec.json.decode, lines)


def replay(event_log: EventLog, config: StreamingConfig) -> tuple[ItemLifetimes, int]:
    """Read the topics of items and engagements from begin to end; also count the engagements."""
    lives: ItemLifetimes = {}
    engagements = 0
    for topic, role in ((config.items_topic, TopicRole.ITEMS), (config.engagements_topic, TopicRole.ENGAGEMENTS)):
        count = sum(_read(event_log, (topic, partition), role, lives) for partition in event_log.partitions(topic))
        engagements += count if role is TopicRole.ENGAGEMENTS else 0
    for life in lives.values():
        life.sort_by_time()
    return lives, engagements


def _read(event_log: EventLog, position: Position, role: TopicRole, lives: ItemLifetimes) -> int:
    begin, end = event_log.begin_positions([position])[position], event_log.end_positions([position])[position]
    event_log.seek({position: begin})
    count = 0
    while event_log.positions()[position] < end:
        for records in event_log.poll(_POLL_RECORDS, 1.0):
            rows = decode_records(role, records)
            kinds, times = rows.kind.tolist(), rows.ts.tolist()
            count += len(kinds) - kinds.count(RowKind.EMPTY)
            for kind, ts, item, payload in zip(kinds, times, rows.item, rows.payload, strict=True):
                _add_record(lives, kind=kind, ts=ts, item=item, payload=payload)
    return count


def _add_record(lives: ItemLifetimes, *, kind: int, ts: int, item: str, payload: object) -> None:
    if kind == RowKind.INTERACTION:
        _life(lives, item).signs.append(ts)
    elif isinstance(payload, Impression):
        for shown in map(str, payload.items):
            _life(lives, shown).shown = min(ts, _life(lives, shown).shown)
    elif isinstance(payload, ItemEvent):
        _life(lives, str(payload.id)).add_item_event(payload)


def _life(lives: ItemLifetimes, item: str) -> ItemLifetime:
    return lives.setdefault(item, ItemLifetime())


def _changed(before: int, given: int | UnsetType | None, without: int) -> int:
    return before if given is UNSET else given or without

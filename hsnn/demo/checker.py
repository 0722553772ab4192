"""The oracle: replays the log and checks every answer of a run. It shares no code with what answered.

An item may be returned at watermark W if the log shows, among its records up to W, that it lives: not deleted since its
last item event, not past the `expires_at` of its last item event, and, where items leave when idle, engaged or
announced after W minus that idle time. Being shown counts only where it announces the item.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.decode.decoder import decode_records
from hsnn.streaming.decode.event_table import RowKind
from hsnn.streaming.log.base import EventLog
from hsnn.streaming.log.records import Position
from hsnn.streaming.schema.events import Impression, Item
from hsnn.streaming.schema.topics import TopicRole

_PAGE = 20_000
_NEVER = 1 << 62


class Fact(NamedTuple):
    """What an item record said at event time `ts`: deleted, or there until `expires_at` (epoch ms)."""

    ts: int
    deleted: bool
    expires_at: int


@dataclass
class Life:
    """Signs of life of one item, epoch ms, when it was first shown, and its item records."""

    signs: list[int] = field(default_factory=list)
    shown: int = _NEVER
    facts: list[Fact] = field(default_factory=list)

    def settle(self) -> None:
        """Bring everything in order of time; records of one time keep their order."""
        self.signs.sort()
        if self.shown < (self.signs[0] if self.signs else _NEVER):
            self.signs.insert(0, self.shown)
        self.facts.sort(key=lambda fact: fact.ts)

    def may_be_returned(self, watermark: int, idle_ms: int | None) -> bool:
        """Whether the item lives at `watermark`.

        Examples
        --------
        >>> life = Life(signs=[100])
        >>> life.may_be_returned(109, 10), life.may_be_returned(110, 10), life.may_be_returned(10**9, None)
        (True, False, True)
        """
        known = bisect_right(self.facts, watermark, key=lambda fact: fact.ts)
        if known and (self.facts[known - 1].deleted or self.facts[known - 1].expires_at <= watermark):
            return False
        if idle_ms is None:
            return True
        seen = bisect_right(self.signs, watermark)
        # its first record may be known to the index a moment before the watermark reaches it: new, not expired
        return seen == 0 or self.signs[seen - 1] > watermark - idle_ms


Lives = dict[str, Life]


class Violation(NamedTuple):
    """An item that must not have been in an answer."""

    item: str
    as_of: int
    user: str
    version: int


@dataclass
class Verdict:
    """What checking found.

    Attributes
    ----------
    answers, items
        Answers checked, and items in them.
    violations
        Expired, deleted or never announced items, one per occurrence.
    """

    answers: int = 0
    items: int = 0
    violations: list[Violation] = field(default_factory=list)


def judge(event_log: EventLog, config: StreamingConfig, answers: Path, idle: float | None) -> tuple[Verdict, int]:
    """Check all answers of a run against its log.

    Parameters
    ----------
    event_log
        For this call alone: its read position is moved.
    config
        Names of the topics.
    answers
        The server's answer log.
    idle
        `expire_after_idle`, seconds.

    Returns
    -------
    Verdict, int
        And how many engagements the log holds.
    """
    lives, engagements = replay(event_log, config)
    return check(lives, read_answers(answers), None if idle is None else int(idle * 1000)), engagements


def check(lives: Lives, answers: Iterable[dict[str, object]], idle_ms: int | None) -> Verdict:
    """Check answers, as in `hsnn.serving.api.request_log.RequestLog`; stops at none."""
    verdict = Verdict()
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
    """Yield the answers of a log; nothing where no answer was given."""
    if file.exists():
        with file.open("rb") as lines:
            yield from map(msgspec.json.decode, lines)


def replay(event_log: EventLog, config: StreamingConfig) -> tuple[Lives, int]:
    """Read the topics of items and engagements from their beginning to their present end; count the engagements."""
    lives: Lives = {}
    engagements = 0
    for topic, role in ((config.items_topic, TopicRole.ITEMS), (config.engagements_topic, TopicRole.ENGAGEMENTS)):
        count = sum(_read(event_log, (topic, partition), role, lives) for partition in event_log.partitions(topic))
        engagements += count if role is TopicRole.ENGAGEMENTS else 0
    for life in lives.values():
        life.settle()
    return lives, engagements


def _read(event_log: EventLog, position: Position, role: TopicRole, lives: Lives) -> int:
    begin, end = event_log.begin_positions([position])[position], event_log.end_positions([position])[position]
    event_log.seek({position: begin})
    count = 0
    while event_log.positions()[position] < end:
        for records in event_log.poll(_PAGE, 1.0):
            rows = decode_records(role, records)
            kinds, times = rows.kind.tolist(), rows.ts.tolist()
            count += len(kinds) - kinds.count(RowKind.EMPTY)
            for kind, ts, item, payload in zip(kinds, times, rows.item, rows.payload, strict=True):
                _note(lives, kind, ts, item, payload)
    return count


def _note(lives: Lives, kind: int, ts: int, item: str, payload: object) -> None:
    if kind == RowKind.INTERACTION:
        _life(lives, item).signs.append(ts)
    elif isinstance(payload, Impression):
        for shown in map(str, payload.items):
            _life(lives, shown).shown = min(ts, _life(lives, shown).shown)
    elif isinstance(payload, Item):
        life = _life(lives, str(payload.id))
        life.signs.append(ts)
        life.facts.append(Fact(ts, False, payload.expires_at or _NEVER))
    elif kind == RowKind.DELETED_ITEM:
        _life(lives, str(payload)).facts.append(Fact(ts, True, _NEVER))


def _life(lives: Lives, item: str) -> Life:
    return lives.setdefault(item, Life())

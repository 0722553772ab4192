"""How many dead letters there are of each reason, and from when."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass

from hsnn.streaming.dead_letters.reader import StoredDeadLetter


@dataclass(slots=True)
class DeadLetterCount:
    """Letters of one topic and reason; `first` and `last` are when they were written, epoch ms."""

    topic: str
    reason: str
    first: int
    last: int
    letters: int = 0
    replayed: int = 0


def count_dead_letters(found: Iterable[StoredDeadLetter], replayed: Container[str]) -> list[DeadLetterCount]:
    """Count letters per topic and reason, in order of both; `replayed` holds identities that were sent again."""
    counts: dict[tuple[str, str], DeadLetterCount] = {}
    for letter in found:
        at = letter.record.sent_at
        count = counts.setdefault((letter.topic, letter.reason), DeadLetterCount(letter.topic, letter.reason, at, at))
        count.first, count.last = min(count.first, at), max(count.last, at)
        count.letters += 1
        count.replayed += letter.identity in replayed
    return [counts[key] for key in sorted(counts)]

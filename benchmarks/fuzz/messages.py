"""A stream of messages, some good and most hostile, the same for a seed."""

from __future__ import annotations

import json
import random
from collections import deque
from typing import Any, NamedTuple

from benchmarks.fuzz import blobs, json_values
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.log.base import ProducerRecord

# epoch ms of the first event, any
START = 1_600_000_000_000
# milliseconds of stream time between two messages
_STEP_MS = 50
# users and items of valid events, and characters that a hostile name may consist of
_USERS, _ITEMS, _STRANGE = 2000, 500, 5000


class Message(NamedTuple):
    """A record for a topic; `events` is how many engagement events it counts as, 0 on other topics."""

    topic: str
    record: ProducerRecord
    events: int


class Hostile:
    """Makes messages; time goes on by 50 ms with each.

    Parameters
    ----------
    seed
    topics
        Names of the topics.
    good
        Share of the messages that a careful producer would send.
    wild_clock
        Whether records may claim to be sent at any time; a Kafka broker refuses such ones.
    """

    def __init__(self, seed: int, topics: StreamingConfig, good: float = 0.3, wild_clock: bool = True) -> None:
        self._rng, self._topics, self._good, self._wild = random.Random(seed), topics, good, wild_clock
        self._recent: deque[dict[str, Any]] = deque(maxlen=100)
        self.made, self.now = 0, START

    def next(self, count: int) -> list[Message]:
        """Make the next messages."""
        return [self._one() for _ in range(count)]

    def _one(self) -> Message:
        self.made += 1
        self.now += _STEP_MS
        rng = self._rng
        event = self._interaction()
        if rng.random() < self._good:
            return self._sound(event)
        if rng.random() < 0.1:
            return self._aside(event)
        makers = json_values.MAKERS if rng.random() < 0.75 else blobs.MAKERS
        value = None if rng.random() < 0.02 else rng.choice(makers)(event, rng)
        return self._engagement(value, hostile=True)

    def _interaction(self) -> dict[str, Any]:
        rng = self._rng
        user = f"u{rng.randrange(_USERS)}"
        return {
            "type": "interaction",
            "id": f"e{self.made}",
            "ts": self.now,
            "user": user,
            "item": f"i{rng.randrange(_ITEMS)}",
            "action": rng.choice(("click", "view")),
        }

    def _sound(self, event: dict[str, Any]) -> Message:
        """What is right, though not always ordinary: ids in any script, repeats, impressions, Arrow."""
        rng, kind = self._rng, self._rng.random()
        if kind < 0.1:
            shown = [f"i{rng.randrange(_ITEMS)}" for _ in range(rng.randint(1, 8))]
            event = {"type": "impression", "items": shown, **{name: event[name] for name in ("id", "ts", "user")}}
        elif kind < 0.2:
            event |= {
                "user": chr(0x4E00 + rng.randrange(_STRANGE)) * rng.randint(1, 85),
                "context": {"hour": rng.randrange(24)},
            }
        elif kind < 0.25:
            event = rng.choice(self._recent or [event])  # sent twice
        elif kind < 0.28:
            return self._engagement(blobs.arrow(event, rng))
        elif kind < 0.34:
            return self._side(rng.choice((self._topics.items_topic, self._topics.users_topic)), event)
        self._recent.append(event)
        return self._engagement(json.dumps(event).encode())

    def _engagement(self, value: bytes | None, hostile: bool = False) -> Message:
        topic = self._topics.engagements_topic
        return Message(topic, self._record(value, hostile), blobs.events_of(value))

    def _side(self, topic: str, event: dict[str, Any]) -> Message:
        kind, name = ("item", event["item"]) if topic == self._topics.items_topic else ("user", event["user"])
        features = {"topic": self._rng.randrange(9), "genres": ["a", "b"], "title": f"{name}!"}
        value = json.dumps({"type": kind, "id": name, "ts": event["ts"], "features": features}).encode()
        return Message(topic, self._record(value, False), 0)

    def _aside(self, event: dict[str, Any]) -> Message:
        """Garbage in the topics of items, users and commands: also deletions of whatever a key may name."""
        rng = self._rng
        topic = rng.choice((self._topics.items_topic, self._topics.users_topic, self._topics.control_topic))
        event = {
            "type": rng.choice(("item", "user")),
            "id": event["item"],
            "ts": self.now,
            "features": {"a": [1, "b", None]},
        }
        if topic == self._topics.control_topic:
            event = {"op": rng.choice(("end", "stop", "", None, 7)), "ts": rng.choice((0, -1, START, 2**70))}
        value = None if rng.random() < 0.2 else rng.choice(json_values.MAKERS)(event, rng)
        record = self._record(value, True)
        keyed = record._replace(key=record.key or b"")  # a compacted topic of Kafka takes no record without a key
        return Message(topic, record if self._wild else keyed, 0)

    def _record(self, value: bytes | None, hostile: bool) -> ProducerRecord:
        rng = self._rng
        if not hostile:
            return ProducerRecord(b"%d" % rng.randrange(_USERS), value, sent_at=self.now if self._wild else None)
        key = rng.choice((None, b"", b"k", b"\xff\xfe", rng.randbytes(30), b"k" * 5000, "\u00fc".encode()))
        headers = rng.choice(
            (
                (),
                (),
                (("ts", b"x"),),
                (("ts", b"9" * 15),),
                (("", b""),) * 20,
                (("hsnn-topic", b"?"), ("hsnn-offset", b"1")),
            )
        )
        if key is None and value is None:
            key = b""  # Kafka's client sends no record of nothing
        sent = rng.choice((None, 0, self.now, 2**53, 2**63 - 1, -5)) if self._wild else None
        return ProducerRecord(key, value, headers, sent)

"""Limit on the share of dead letters: a schema break halts the consumer, or a whole topic would become dead letters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.dead_letters.writer import SUFFIX, DeadLetter
from hsnn.streaming.decode.event_table import EventTable, RowKind
from hsnn.streaming.errors import DeadLetterFloodError

# Code of events that are no dead letters; its reason is the empty text.
_VALID = 0

# Characters of a dead letter's detail in the error: enough to recognize it, and the message stays readable.
_EXAMPLE_LENGTH = 200


class LimitExceeded(NamedTuple):
    """The limit was exceeded, by the row before `stop`."""

    stop: int
    error: DeadLetterFloodError


class DeadLetterLimit:
    """Checks which share of the last `window` events of each topic are dead letters; fewer events are not judged.

    It looks at delivered events in their order, so every run halts at the same one, and a restart goes on counting.

    Parameters
    ----------
    share
        Above it the consumer halts; None for no limit.
    window
        Events.
    topics
        Topic of each partition, by its number.
    """

    def __init__(self, share: float | None, window: int, topics: Sequence[str]) -> None:
        self._share, self._window = share, window
        self._topics = list(dict.fromkeys(topics))
        self._topic_of = np.array([self._topics.index(topic) for topic in topics], np.int64)
        self._reasons = [""]  # by code
        # Codes of the last events of each topic.
        self._last: dict[str, NDArray[np.int16]] = {topic: np.zeros(0, np.int16) for topic in self._topics}

    def check(self, rows: EventTable) -> LimitExceeded | None:
        """Count delivered rows; return where the limit was first exceeded, if it was."""
        if self._share is None or not len(rows):
            return None
        codes, topics = self._codes(rows), self._topic_of[rows.partition]
        present = np.flatnonzero(np.bincount(topics, minlength=len(self._topics))).tolist()
        exceeded = [self._check_topic(self._topics[i], np.flatnonzero(topics == i), codes, rows) for i in present]
        return min((result for result in exceeded if result), key=lambda result: result.stop, default=None)

    def state_dict(self) -> dict[str, list[list[Any]]]:
        """Return the reasons of the last events of each topic, empty for valid ones, as runs of [reason, count]."""
        return {
            topic: [[self._reasons[code], len(list(run))] for code, run in groupby(last.tolist())]
            for topic, last in self._last.items()
            if len(last)
        }

    def load_state_dict(self, state: dict[str, list[list[Any]]]) -> None:
        """Restore what `state_dict` returned."""
        for topic, runs in state.items():
            codes = [self._code(reason) for reason, _ in runs]
            self._last[topic] = np.repeat(np.array(codes, np.int16), [count for _, count in runs])[-self._window :]

    def _codes(self, rows: EventTable) -> NDArray[np.int16]:
        codes = np.zeros(len(rows), np.int16)
        dead = np.flatnonzero(rows.kind == RowKind.DEAD)
        codes[dead] = [self._code(letter.reason) for letter in rows.payload[dead]]
        return codes

    def _code(self, reason: str) -> int:
        if reason not in self._reasons:
            self._reasons.append(reason)
        return self._reasons.index(reason)

    def _check_topic(
        self, topic: str, selected: NDArray[np.intp], codes: NDArray[np.int16], rows: EventTable
    ) -> LimitExceeded | None:
        """Count the selected rows, which are of one topic."""
        before, new = self._last[topic], codes[selected]
        seen = np.concatenate((before, new))
        self._last[topic] = seen[-self._window :]
        # A full window that gets valid events only cannot newly exceed the limit: the common case.
        if len(seen) < self._window or (len(before) == self._window and not new.any()):
            return None
        sums = np.concatenate(([0], np.cumsum(seen != _VALID)))
        # Entry i is the window of the events i to i + window.
        exceeded = sums[self._window :] - sums[: -self._window] > (self._share or 0.0) * self._window
        exceeded[: max(0, len(before) - self._window + 1)] = False  # windows that an earlier call has checked
        if not exceeded.any():
            return None
        end = int(np.argmax(exceeded)) + self._window
        stop = int(selected[end - len(before) - 1]) + 1
        return LimitExceeded(stop, self._error(topic, seen[end - self._window : end], rows[:stop]))

    def _error(self, topic: str, window: NDArray[np.int16], rows: EventTable) -> DeadLetterFloodError:
        reasons = Counter(self._reasons[code] for code in window[window != _VALID].tolist())
        reason, count = reasons.most_common(1)[0]
        letters = [letter for letter in rows.payload if isinstance(letter, DeadLetter) and letter.record.topic == topic]
        example = next((letter for letter in letters if letter.reason == reason), letters[-1] if letters else None)
        such_as = "" if example is None else _such_as(example)
        return DeadLetterFloodError(
            f"{topic}: {reasons.total():,} of the last {self._window:,} events are dead letters, and at most "
            f"{self._share:.0%} may be; {count:,} of them are `{reason}`{such_as}. Nothing more is read, or the topic "
            f"would drain into {topic}{SUFFIX}. Did the producers change their format? `hsnn dlq show --topic {topic}` "
            "shows the dead letters; fix the cause and start again, or read on with "
            "--set streaming.dead_letter_share=none"
        )


def _such_as(letter: DeadLetter) -> str:
    record = letter.record
    where = f"{record.topic}/{record.partition} at offset {record.offset}"
    return f", such as {where} ({letter.reason}: {letter.detail[:_EXAMPLE_LENGTH]})"

"""The cap on dead letters: a schema break must halt the consumer, not drain a topic into its dead letters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.dead_letters.writer import SUFFIX, DeadLetter
from hsnn.streaming.decode.rows import KIND, PART, PAYLOAD, RowKind, Rows
from hsnn.streaming.errors import DeadLetterFloodError

_FINE = 0


class LimitExceeded(NamedTuple):
    """The cap was exceeded: by the row before `stop`, and what to tell people."""

    stop: int
    error: DeadLetterFloodError


class DeadLetterLimit:
    """Watches what share of the last `window` events of each topic are dead letters; there is no cap before so many.

    It looks at delivered events in their order, so every run halts at the same one, and a restart goes on counting.

    Parameters
    ----------
    share
        Above it the consumer halts; None lifts the cap.
    window
        Events.
    topics
        Topic of each partition, by its number.
    """

    def __init__(self, share: float | None, window: int, topics: Sequence[str]) -> None:
        self._share, self._window, self._topics = share, window, topics
        self._names = list(dict.fromkeys(topics))
        self._number = np.array([self._names.index(topic) for topic in topics], np.int64)
        self._reasons = [""]
        self._last: dict[str, NDArray[np.int16]] = {name: np.zeros(0, np.int16) for name in self._names}

    def check(self, rows: Rows) -> LimitExceeded | None:
        """Count delivered rows; say where the cap was exceeded first, if it was."""
        if self._share is None or not len(rows):
            return None
        codes, topics = self._codes(rows), self._number[rows.column(PART)]
        there = np.flatnonzero(np.bincount(topics, minlength=len(self._names))).tolist()
        floods = [self._count(self._names[at], np.flatnonzero(topics == at), codes, rows) for at in there]
        return min((flood for flood in floods if flood), key=lambda flood: flood.stop, default=None)

    def state_dict(self) -> dict[str, list[list[Any]]]:
        """Reasons of the last events of each topic, empty for those that were fine, as runs of [reason, count]."""
        return {
            name: [[self._reasons[code], len(list(run))] for code, run in groupby(last.tolist())]
            for name, last in self._last.items()
            if len(last)
        }

    def load_state_dict(self, state: dict[str, list[list[Any]]]) -> None:
        """Take over what `state` returned."""
        for name, runs in state.items():
            codes = [self._code(reason) for reason, _ in runs]
            self._last[name] = np.repeat(np.array(codes, np.int16), [count for _, count in runs])[-self._window :]

    def _codes(self, rows: Rows) -> NDArray[np.int16]:
        codes = np.zeros(len(rows), np.int16)
        dead = np.flatnonzero(rows.column(KIND) == RowKind.DEAD)
        codes[dead] = [self._code(letter.reason) for letter in rows.objects[PAYLOAD, dead]]
        return codes

    def _code(self, reason: str) -> int:
        if reason not in self._reasons:
            self._reasons.append(reason)
        return self._reasons.index(reason)

    def _count(self, name: str, at: NDArray[np.intp], codes: NDArray[np.int16], rows: Rows) -> LimitExceeded | None:
        before = self._last[name]
        seen = np.concatenate((before, codes[at]))
        self._last[name] = seen[-self._window :]
        full = len(before) == self._window
        if len(seen) < self._window or (full and not codes[at].any()):
            return None
        sums = np.concatenate(([0], np.cumsum(seen != _FINE)))
        over = sums[self._window :] - sums[: -self._window] > (self._share or 0.0) * self._window
        over[: max(0, len(before) - self._window + 1)] = False  # said before
        if not over.any():
            return None
        end = int(np.argmax(over)) + self._window
        stop = int(at[end - len(before) - 1]) + 1
        return LimitExceeded(stop, self._error(name, seen[end - self._window : end], rows[:stop]))

    def _error(self, name: str, window: NDArray[np.int16], rows: Rows) -> DeadLetterFloodError:
        reasons = Counter(self._reasons[code] for code in window[window != _FINE].tolist())
        commonest, count = reasons.most_common(1)[0]
        letters = [one for one in rows.objects[PAYLOAD] if isinstance(one, DeadLetter) and one.record.topic == name]
        example = next((one for one in letters if one.reason == commonest), letters[-1] if letters else None)
        such = "" if example is None else _such(example)
        return DeadLetterFloodError(
            f"{name}: {reasons.total():,} of the last {self._window:,} events are dead letters, and at most "
            f"{self._share:.0%} may be; {count:,} of them are `{commonest}`{such}. Nothing more is read, or the topic "
            f"would drain into {name}{SUFFIX}. Did the producers change their format? `hsnn dlq show --topic {name}` "
            "shows what was put aside; mend what is wrong and start again, or read on with "
            "--set streaming.dead_letter_share=none"
        )


def _such(letter: DeadLetter) -> str:
    record = letter.record
    where = f"{record.topic}/{record.partition} at offset {record.offset}"
    return f", such as {where} ({letter.reason}: {letter.detail[:200]})"

"""Disruption after disruption: each is done, seen, undone, and over before the next."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from benchmarks.chaos.catalogue import gone_early, items_of
from benchmarks.chaos.disruptions.base import Disruption, Scene, Variant
from benchmarks.chaos.loop import REDIS, ROLES, SCHEDULERS, SERVERS
from benchmarks.chaos.queries import Queries
from benchmarks.chaos.watch import Sign, View

VISIBLE_SECONDS = 10.0
"""Within which an operator must see a disruption."""
# seconds until a loop that has not recovered is given up
RECOVER_SECONDS = 120.0
# seconds that a further process may take to load its program
_START_SECONDS = 90.0
# seconds between two looks at all pages
_LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Outcome:
    """What became of one disruption; times are seconds.

    Attributes
    ----------
    seen
        From its beginning until the first sign; None: there was none in time, or nothing goes by it.
    sign
        Its name.
    expected
        Whether there had to be a sign.
    recovered
        From its end until the loop was whole; None: never.
    missing
        What was not whole at the last look before that.
    """

    kind: str
    seen: float | None
    sign: str
    expected: bool
    recovered: float | None
    hand: str
    missing: str = ""


class Campaign:
    """Strikes a loop that serves.

    Parameters
    ----------
    queries
        Told which process cannot answer.

    Attributes
    ----------
    early : list of str
        Items that left the index before their end, and the disruption.
    """

    def __init__(self, scene: Scene, queries: Queries, seed: int) -> None:
        self._scene, self._queries, self._random = scene, queries, Random(seed)
        self._client = scene.loop.admin()
        self.early: list[str] = []

    def become_whole(self, seconds: float) -> str:
        """Wait until the loop works; return what is missing if it does not in time."""
        recovered, missing = self._wait_whole(None, seconds)
        return missing if recovered is None else ""

    def strike(self, variant: Variant) -> Outcome:
        """Do one disruption until it is seen and its time is over, undo it, and wait until the loop is whole."""
        kind, make = variant
        disruption, before = make(self._scene, self._random), self._scene.loop.view()
        signs, items = disruption.signs(), items_of(self._client) or set()
        self._queries.struck = disruption.struck
        disruption.strike()
        seen, sign = self._watch(disruption, signs, before)
        disruption.end()
        recovered, missing = self._wait_whole(disruption, RECOVER_SECONDS)
        self._queries.struck = ""
        self._note_early(kind, items)
        return Outcome(
            kind, seen=seen, sign=sign, expected=bool(signs), recovered=recovered, hand=disruption.hand, missing=missing
        )

    def _watch(self, disruption: Disruption, signs: Sequence[Sign], before: View) -> tuple[float | None, str]:
        """Look until it is seen and its time is over; return when it was seen, since it was felt, and by what."""
        began = time.monotonic()
        felt, seen, sign = None, None, ""
        while True:
            at, now = time.monotonic(), self._scene.loop.view()
            if felt is None and (disruption.has_begun() or at - began > _START_SECONDS):
                felt = at
            if seen is None and (name := next((one.name for one in signs if one.seen(before, now)), "")):
                seen, sign = time.monotonic() - (felt or at), name
            lasted = 0.0 if felt is None else at - felt
            if (
                felt is not None
                and lasted >= disruption.lasts
                and (seen is not None or not signs or lasted > VISIBLE_SECONDS)
            ):
                return seen, sign
            time.sleep(_LOOK_SECONDS)

    def _note_early(self, kind: str, before: set[str]) -> None:
        now = items_of(self._client)
        if now is not None and (gone := gone_early(before, now, self._scene.traffic.ends)):
            self.early.append(f"{kind}: {len(gone)} items left before their end, as {min(gone)}")

    def _wait_whole(self, disruption: Disruption | None, seconds: float) -> tuple[float | None, str]:
        began, mark, last = time.monotonic(), time.time(), ""
        while True:
            now = self._scene.loop.view()
            missing = what_is_missing(now, mark, self._scene.traffic.permanent())
            missing = missing or (disruption.is_over(now) if disruption else "")
            missing = missing or ("" if self._scene.loop.backends[REDIS].is_whole() else "a node of Redis is away")
            elapsed = time.monotonic() - began
            if not missing:
                return elapsed, last
            if elapsed > seconds:
                return None, missing
            last = missing
            time.sleep(_LOOK_SECONDS)


def what_is_missing(now: View, mark: float, permanent: int) -> str:
    """Say what of the loop does not work; empty: everything does.

    Parameters
    ----------
    mark
        Epoch seconds: what was sent until then must be learned, and its states be in the servers' mirrors.
    permanent
        Items without an end, which every server must have.
    """
    unready = [name for name in ROLES if not now.ready(name)]
    if unready:
        said = "; ".join(f"{name} {now.pages[name].said[:200]}".strip() for name in unready if name in now.pages)
        return f"not ready: {said}"
    leading = sum(now.value(name, "hsnn_scheduler_leading") for name in SCHEDULERS)
    if leading != 1:
        return f"{leading:g} schedulers lead"
    behind = [name for name in SERVERS if now.value(name, "hsnn_mirror_watermark_seconds") < mark]
    if behind:
        late = mark - min(now.value(name, "hsnn_mirror_watermark_seconds") for name in behind)
        trained = now.value("trainer", "hsnn_watermark_seconds") - mark
        return (
            f"what was sent before is not in {' and '.join(behind)}: {late:.1f} s behind, the trainer {-trained:.1f} s"
        )
    short = [name for name in SERVERS if now.value(name, "hsnn_index_items") < permanent]
    return f"{' and '.join(short)} lack items that have no end" if short else ""


def failures(outcomes: Sequence[Outcome]) -> list[str]:
    """Say which disruptions nobody saw in time, and after which the loop did not recover."""
    unseen = [
        f"{outcome.kind}: nothing was to be seen within {VISIBLE_SECONDS:g} s"
        for outcome in outcomes
        if outcome.expected and (outcome.seen is None or outcome.seen > VISIBLE_SECONDS + 1)
    ]
    lasting = [
        f"{outcome.kind}: not recovered after {RECOVER_SECONDS:g} s ({outcome.missing})"
        for outcome in outcomes
        if outcome.recovered is None
    ]
    return unseen + lasting

"""Protocol of every competitor: build, then replace items step by step while queries run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from benchmarks.churn.planted_data import Block, PlantedData, concatenate

K = 50
"""Items per query."""

# items replaced between two groups of queries
CHUNK = 1000
# queries between two thousands of replacements: they take little of the replacing time
_QUERIES_PER_CHUNK = 10
# queries of one measurement
_QUERIES = 400
# queries in a row before the other index is asked as many
_BLOCK = 50

Numbers = NDArray[np.int64]


class Competitor(Protocol):
    """An index of the world's items that can be searched and changed."""

    def build(self, items: Block) -> None:
        """Start from these items."""

    def replace(self, gone: Block, new: Block) -> None:
        """Take items out and put as many in; `wait_until_visible` says when that must be done."""

    def wait_until_visible(self) -> None:
        """Return once everything replaced so far is visible to searches."""

    def search(self, user: int, k: int) -> Numbers:
        """Numbers (<= k,) of the items with the largest scores for a user, best first."""

    def bytes(self) -> int:
        """Memory of the index, wherever it lies."""

    def details(self) -> dict[str, Any]:
        """Further figures of the index."""

    def end(self) -> None:
        """Release all resources."""


@runtime_checkable
class Controlled(Competitor, Protocol):
    """Keeps the index as it was built beside the one that changes."""

    def search_first(self, user: int, k: int) -> Numbers:
        """Search the index as it was built."""


class Measurement(NamedTuple):
    """Measurements at one moment, in milliseconds and shares."""

    recall: float
    p50_ms: float
    p99_ms: float
    gone: int
    """Items found that had been taken out."""
    against_first: float | None
    """Median of a query over that in the index as it was built, asked in turn: both meet the same load."""


def run(competitor: Competitor, world: PlantedData, first: Block, churn: Sequence[float]) -> dict[str, Any]:
    """Build on `first` (N,), look, then replace up to each share of `churn` (of N, ascending) and look again."""
    began = time.perf_counter()
    competitor.build(first)
    competitor.wait_until_visible()
    built = time.perf_counter() - began
    alive = first
    looks = [{"churn": 0.0, **_measure(competitor, world, alive)._asdict(), "mb": competitor.bytes() / 1e6}]
    looks[0] |= competitor.details()
    done = 0
    for share in churn:
        count = round(share * len(first.numbers)) - done
        seconds, during, alive = _churn(competitor, world, alive, count=count, turn=share)
        done += count
        look = _measure(competitor, world, alive)
        looks.append(
            {
                "churn": share,
                **look._asdict(),
                "mb": competitor.bytes() / 1e6,
                "items_per_second": count / seconds,
                "during_p50_ms": float(np.percentile(during, 50)),
                "during_p99_ms": float(np.percentile(during, 99)),
                **competitor.details(),
            }
        )
    competitor.end()
    return {"build_seconds": built, "looks": looks}


def _churn(
    competitor: Competitor, world: PlantedData, alive: Block, count: int, turn: float
) -> tuple[float, NDArray[np.float64], Block]:
    """Replace the `count` oldest items; seconds of replacing alone, seconds of each query meanwhile, who is alive."""
    new = world.new_items(count, turn)
    spent, times = 0.0, []
    for start in range(0, count, CHUNK):
        part = slice(start, min(start + CHUNK, count))
        began = time.perf_counter()
        competitor.replace(alive.select(part), new.select(part))
        spent += time.perf_counter() - began
        times += _timed(competitor, world, _QUERIES_PER_CHUNK, start)[1]
    began = time.perf_counter()
    competitor.wait_until_visible()
    spent += time.perf_counter() - began
    return spent, np.array(times) * 1000, concatenate([alive.select(slice(count, None)), new])


def _measure(competitor: Competitor, world: PlantedData, alive: Block) -> Measurement:
    found, seconds = _timed(competitor, world, min(_QUERIES, world.users), 0)
    truth = _truth(world, alive, len(found))
    hits = [len(np.intersect1d(one, best)) / len(best) for one, best in zip(found, truth, strict=True)]
    gone = sum(int(np.count_nonzero(~np.isin(one, alive.numbers))) for one in found)
    p50, p99 = np.percentile(seconds, (50, 99)) * 1000
    return Measurement(
        recall=float(np.mean(hits)),
        p50_ms=float(p50),
        p99_ms=float(p99),
        gone=gone,
        against_first=_against_first(competitor, world),
    )


def _against_first(competitor: Competitor, world: PlantedData) -> float | None:
    if not isinstance(competitor, Controlled):
        return None
    seconds = np.zeros((min(_QUERIES, world.users), 2))
    for number in range(len(seconds)):
        for at, search in enumerate((competitor.search, competitor.search_first)):
            began = time.perf_counter()
            search(number, K)
            seconds[number, at] = time.perf_counter() - began
    now, first = np.median(seconds, axis=0)
    return float(now / first)


def _timed(competitor: Competitor, world: PlantedData, count: int, first: int) -> tuple[list[Numbers], list[float]]:
    found, seconds = [], []
    for number in range(first, first + count):
        began = time.perf_counter()
        found.append(competitor.search(number % world.users, K))
        seconds.append(time.perf_counter() - began)
    return found, seconds


def _truth(world: PlantedData, alive: Block, count: int) -> list[Numbers]:
    """The best K items of each of the first `count` users, by brute force."""
    best: list[Numbers] = []
    for start in range(0, count, _BLOCK):
        scores = world.queries[start : min(start + _BLOCK, count)] @ alive.vectors.T  # (b, N)
        best += list(alive.numbers[np.argpartition(-scores, K - 1, axis=1)[:, :K]])
    return best

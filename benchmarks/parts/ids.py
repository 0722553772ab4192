"""Id tables: insert and look-up of many ids, in small and large batches, beside a dict. Writes `results/ids.json`.

    make bench ARGS='parts.ids            # 10,000,000 ids, some minutes
    make bench ARGS='parts.ids --ids 1000000'

Each run is a process of its own, so that what it holds is what its memory grew by. Ids are texts of some 14 characters,
made anew for each call and not timed. Look-ups are of ids drawn evenly from all, or by Zipf's law.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.arguments import positive
from benchmarks.paths import RESULTS_FOLDER
from hsnn.trainer.rowstore.id_table import IdTable

RESULTS = RESULTS_FOLDER / "ids.json"
# ids per call: a batch of the trainer, and what is loaded at a start
BATCHES = (512, 65_536)
# ids that are looked up at most: enough for a mean, however many the table holds
LOOKED_UP = 2_000_000
# primes, so that consecutive numbers give ids in no order, each once
_STRIDE, _RANGE = 7_919, 10**9 + 7


class MeasuredTable(Protocol):
    """What is measured."""

    def add(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Rows of names, new ones added."""


class DictTable:
    """Baseline: a dict, and a list from rows to ids."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.rows: dict[str, int] = {}

    def add(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Rows of names, new ones added."""
        rows, before = self.rows, len(self.rows)
        found = [rows.setdefault(name, len(rows)) for name in names]
        if len(rows) > before:
            self.ids.extend(name for name, row in zip(names, found, strict=True) if row >= before)
        return np.array(found, np.int64)


TABLES: dict[str, Callable[[], MeasuredTable]] = {"arrays": IdTable, "dict": DictTable}


class Timed(NamedTuple):
    """Microseconds per id, and the longest call in milliseconds."""

    per_id: float
    longest: float


def names(numbers: NDArray[np.int64]) -> list[str]:
    """Ids of some numbers (n,), distinct ones of distinct numbers."""
    return [f"user-{number}" for number in (numbers * _STRIDE % _RANGE).tolist()]


def timed(table: MeasuredTable, parts: Iterable[NDArray[np.int64]]) -> Timed:
    """Time `add` of the ids of some numbers, call by call; their rows must be their numbers."""
    seconds = []
    count = 0
    for part in parts:
        asked = names(part)
        start = time.perf_counter()
        rows = table.add(asked)
        seconds.append(time.perf_counter() - start)
        count += len(part)
        if not np.array_equal(rows, part):
            raise SystemExit("an id has another row than it should have")
    return Timed(1e6 * sum(seconds) / count, 1e3 * max(seconds))


def measured(job: tuple[str, int, int]) -> dict[str, Any]:
    """Fill one table with so many ids in batches of one size, then look ids up."""
    kind, ids, size = job
    rng, looks = np.random.default_rng(0), min(LOOKED_UP, ids) // size + 1
    gc.collect()
    before = _resident()
    table = TABLES[kind]()
    inserted = timed(table, (np.arange(start, min(start + size, ids)) for start in range(0, ids, size)))
    held = _resident() - before
    even = timed(table, (rng.integers(ids, size=size) for _ in range(looks)))
    people = timed(table, (rng.zipf(1.2, size=size) % ids for _ in range(looks)))
    return {
        "table": kind,
        "ids": ids,
        "batch": size,
        "insert": inserted._asdict(),
        "even": even._asdict(),
        "zipf": people._asdict(),
        "bytes_per_id": held / ids,
    }


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the id table beside a dict.")
    parser.add_argument("--ids", type=positive, default=10_000_000, help="how many ids")
    parser.add_argument("--json", type=Path, default=RESULTS, help="where the result goes")
    arguments = parser.parse_args()
    jobs = [(kind, arguments.ids, size) for size in BATCHES for kind in TABLES]
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        runs = pool.map(measured, jobs, chunksize=1)
    found = {"cores": os.cpu_count(), "runs": runs}
    arguments.json.parent.mkdir(exist_ok=True)
    arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    print(arguments.json.read_text())


if __name__ == "__main__":
    main()

"""Results of one evaluation run, and the file that they are saved in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

# Fields of `Run` by the way they are saved; their names are the keys of the file.
_TABLES = ("ranks", "work", "dots", "popular")
_COLUMNS = ("event", "ts", "age", "corpus", "sizes")
_OPTIONAL = ("predicted", "engaged")
_PLAIN = (
    "coverage",
    "churn",
    "traffic_churn",
    "baselines",
    "counting",
    "chosen",
    "costs",
    "budget",
    "events",
    "versions",
    "arrived",
    "expired",
    "seconds",
    "training_seconds",
    "judging_seconds",
)


@dataclass(frozen=True, slots=True)
class Run:
    """Results of one pass over a stream with one configuration and seed.

    Attributes
    ----------
    ranks : column -> (queries,) float32
        A column is one method at one setting: ``served``, ``popularity:1.0``, ``merge@50`` (order at a budget).
    work : column -> (queries,) int32
        Items scored, where they differ from query to query.
    dots : column -> (queries,) int32
        Dot products computed to choose the items that are scored, of methods that have some.
    event, ts, age : (queries,) int64
        Position of the query in the stream, its time (epoch ms), and stream time since its target was first seen (ms).
    corpus : (queries,) int64
        Number of retrievable items.
    coverage : column -> share of the retrievable items that were in some answer's first 20
    popular : column -> (H,) float64
        Mean share of an answer's first 20 among the 50 most popular items, per half-life of popularity.
    sizes : (K,) int64
        Items per node at the end.
    churn, traffic_churn : float
        Changes of node from version to version per 100,000 events, per item and weighted by traffic.
    baselines : names that were requested
    counting : those of them that count: no model, no index
    chosen : method -> column
        Setting of each baseline that was chosen on earlier queries.
    costs : part -> seconds
        Wall time of each method and of the curves.
    budget : int
        Items that the served path scores, at most.
    events, versions, arrived, expired : int
    seconds : float
        Wall time; of it `training_seconds` for the learning of the served model, `judging_seconds` for queries.
    predicted, engaged : (n,) float32 or None
        Predicted probabilities of shown items, and whether they were engaged with; None without impressions.
    """

    ranks: dict[str, NDArray[np.float32]]
    work: dict[str, NDArray[np.int32]]
    dots: dict[str, NDArray[np.int32]]
    event: NDArray[np.int64]
    ts: NDArray[np.int64]
    age: NDArray[np.int64]
    corpus: NDArray[np.int64]
    coverage: dict[str, float]
    popular: dict[str, NDArray[np.float64]]
    sizes: NDArray[np.int64]
    churn: float
    traffic_churn: float
    baselines: tuple[str, ...]
    counting: tuple[str, ...]
    chosen: dict[str, str]
    costs: dict[str, float]
    budget: int
    events: int
    versions: int
    arrived: int
    expired: int
    seconds: float
    training_seconds: float
    judging_seconds: float
    predicted: NDArray[np.float32] | None = None
    engaged: NDArray[np.float32] | None = None

    @property
    def scored(self) -> NDArray[np.int32]:
        """Items scored by the served path, (queries,)."""
        return self.work.get("served", np.zeros(0, np.int32))


def select_queries(run: Run, kept: NDArray[np.bool_]) -> Run:
    """Select queries of a run by the mask `kept` (queries,); totals over all queries stay as they are."""
    return replace(
        run,
        ranks={name: column[kept] for name, column in run.ranks.items()},
        work={name: column[kept] for name, column in run.work.items()},
        dots={name: column[kept] for name, column in run.dots.items()},
        event=run.event[kept],
        ts=run.ts[kept],
        age=run.age[kept],
        corpus=run.corpus[kept],
    )


def save(run: Run, path: Path) -> None:
    """Write a run as ``.npz``, atomically."""
    arrays: dict[str, NDArray[Any]] = {name: getattr(run, name) for name in _COLUMNS}
    arrays |= {name: getattr(run, name) for name in _OPTIONAL if getattr(run, name) is not None}
    for table in _TABLES:
        arrays |= {f"{table}/{name}": column for name, column in getattr(run, table).items()}
    plain = msgspec.json.encode({name: getattr(run, name) for name in _PLAIN})
    aside = path.with_suffix(".part.npz")
    arrays |= {"plain": np.frombuffer(plain, np.uint8)}
    np.savez_compressed(aside, allow_pickle=False, **arrays)
    aside.replace(path)


def load(path: Path) -> Run:
    """Read a run that `save` wrote."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    values: dict[str, Any] = msgspec.json.decode(arrays.pop("plain").tobytes())
    values |= {name: tuple(values[name]) for name in ("baselines", "counting")}
    values |= {name: float("nan") for name in ("churn", "traffic_churn") if values[name] is None}
    values |= {table: {} for table in _TABLES}
    for name, array in arrays.items():
        table, _, column = name.partition("/")
        if column:
            values[table][column] = array
        else:
            values[name] = array
    return Run(**values)

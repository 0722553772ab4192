"""What the exact mode scores and costs beside exhaustive search and beam. Writes `results/exact.json`.

    make bench ARGS='parts.exact'

Planted clusters, ml-100k and globo-news (if HSNN_DATA names a folder that holds it) run through the whole loop; in the
second half, some events are asked in every mode before they are learned, and every exact answer is compared with the
exhaustive one. Times are taken twice: at a moment nobody has asked about yet (state vectors and bounds are made), and
at the same moment again. Last, the search alone over planted vectors in a number that no data set here has.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace

from benchmarks.paths import RESULTS_FOLDER
from benchmarks.quality.variants import digest
from hsnn.config.schema import Config
from hsnn.evaluation.harness.dataset_config import config_for_dataset
from hsnn.evaluation.harness.offline_system import OfflineSystem
from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.schema import HistoryItem, Request
from hsnn.serving.search import exact
from hsnn.serving.search.retrieval import retrieve
from hsnn.streaming.datasets import Dataset, load
from hsnn.streaming.schema.batch import Engagements
from hsnn.streaming.schema.events import Item
from hsnn.trainer.retrieval.score_bounds import DotQuery, GroupedItems, ScoreBounds
from hsnn.trainer.threads import use_threads
from hsnn.trainer.training.prepared import PreparedBatch

RESULTS = RESULTS_FOLDER / "exact.json"
# events of each data set
EVENTS = 60_000
# share of the second half's events that is asked: some hundred queries
ASKED = 0.015
MODES = ("beam", "exact", "exhaustive")
# items per answer
SIZES = (20, 50)
# clusters of the planted data, items of each, and users
CLUSTERS, PER_CLUSTER, USERS = 50, 40, 1000
# items and nodes of the search alone
LARGE, LARGE_NODES = 200_000, 1024


def planted() -> Dataset:
    """Users of cluster c click items of cluster c, some items more than others."""
    rng = np.random.default_rng(0)
    who = rng.integers(USERS, size=EVENTS)
    place = np.minimum(rng.geometric(0.06, EVENTS) - 1, PER_CLUSTER - 1)
    items = [f"c{user % CLUSTERS}-{number}" for user, number in zip(who.tolist(), place.tolist(), strict=True)]
    ts = 1_700_000_000_000 + 1000 * np.arange(1, EVENTS + 1, dtype=np.int64)
    first = dict(zip(reversed(items), reversed(ts.tolist()), strict=True))
    made = [Item(id=name, ts=at - 1, features={"topic": name.partition("-")[0]}) for name, at in first.items()]
    values = np.full(EVENTS, np.nan, np.float32)
    clicks = Engagements(
        ts=ts,
        sent_at=ts.copy(),
        user=[f"u{user}" for user in who],
        item=items,
        action=["click"] * EVENTS,
        value=values,
        context=[None] * EVENTS,
    )
    return Dataset(
        "planted",
        engagements=clicks,
        items=sorted(made, key=lambda item: item.ts),
        users=[],
        titles={},
        sequence=np.arange(EVENTS),
    )


def asked(system: OfflineSystem, prepared: PreparedBatch, rng: np.random.Generator) -> Iterator[Request]:
    """Requests of some events of a batch that has not been learned."""
    names, users, queries = system.learner.items.table.ids, system.learner.users.table.ids, prepared.queries
    for at in np.flatnonzero(rng.random(len(prepared.items)) < ASKED).tolist():
        seen = zip(queries.history_items[at].tolist(), queries.history_times[at].tolist(), strict=True)
        history = [HistoryItem(names[row], ts) for row, ts in seen if row >= 0]
        context, now = prepared.contexts[at], int(prepared.ts[at])
        yield Request(user=users[prepared.users[at]], history=history, context=context, as_of=now)


def compare(system: OfflineSystem, request: Request, k: int) -> dict[str, dict[str, float]]:
    """One request in every mode: share scored, milliseconds at a new moment and again."""
    found, answers = {}, {}
    for mode in MODES:
        one, times = replace(request, k=k, mode=mode), []
        retrieve(system.mirror, [replace(one, as_of=(request.as_of or 0) + 1)])  # another moment: the tick is lost
        for _ in range(2):
            start = time.perf_counter()
            answers[mode] = retrieve(system.mirror, [one], RetrievalLimits())[0]
            times.append(1000 * (time.perf_counter() - start))
        stats = answers[mode].stats
        found[mode] = {
            "share": stats.scored / max(stats.corpus, 1),
            "certified": float(stats.certified),
            "nodes": stats.nodes,
            "new_moment_ms": times[0],
            "same_moment_ms": times[1],
        }
    proven, reference = answers["exact"], answers["exhaustive"]
    if (proven.items, proven.scores) != (reference.items, reference.scores) or not proven.stats.certified:
        raise RuntimeError(f"the exact answer is not the exhaustive one: {request}")
    return found


def measure(data: Dataset, config: Config) -> dict[str, Any]:
    """Run a data set through the loop and ask."""
    trainer = config_for_dataset(config.trainer, data)
    system, rng = OfflineSystem(trainer, 600.0, 2048), np.random.default_rng(0)
    found: dict[int, list[dict[str, dict[str, float]]]] = {k: [] for k in SIZES}
    for batch in data.batches(config.streaming.batch_size):
        prepared = system.prepare(batch)
        if system.mirror.loaded and system.learner.events >= len(data.engagements) / 2:
            for request in asked(system, prepared, rng):
                for k in SIZES:
                    found[k].append(compare(system, request, k))
        system.learn(prepared)
    sizes = {f"k_{k}": {mode: medians([one[mode] for one in found[k]]) for mode in MODES} for k in SIZES}
    return {"queries": len(found[SIZES[0]]), "items": system.mirror.state.corpus} | sizes


def medians(of: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(float(np.median([one[name] for one in of])), 4) for name in of[0]} | {
        "share_p90": round(float(np.percentile([one["share"] for one in of], 90)), 4)
    }


def large() -> dict[str, Any]:
    """Search alone, over planted vectors whose bounds are made: median share and milliseconds."""
    rng = np.random.default_rng(0)
    nodes = np.sort(rng.integers(LARGE_NODES, size=LARGE)).astype(np.int32)
    centres = rng.standard_normal((LARGE_NODES, 48)).astype(np.float32)
    vectors = centres[nodes] + 0.3 * rng.standard_normal((LARGE, 48)).astype(np.float32)
    members = GroupedItems(vectors, rng.normal(0, 0.5, LARGE).astype(np.float32), nodes)
    start = time.perf_counter()
    tick = SimpleNamespace(rows=np.arange(LARGE), members=members, bounds=ScoreBounds(members, 32))
    built = 1000 * (time.perf_counter() - start)
    mask, shares, times = np.ones(LARGE, np.bool_), [], {"exact": [], "exhaustive": []}
    for number in range(100):
        query = DotQuery(
            centres[number] + 0.3 * rng.standard_normal(48, np.float32), 32, np.zeros(LARGE_NODES, np.float32)
        )
        answers = {}
        for name, find in (("exact", exact.search), ("exhaustive", exact.score_all)):
            start = time.perf_counter()
            answers[name] = find(tick, query, mask, 20)
            times[name].append(1000 * (time.perf_counter() - start))
        if answers["exact"].rows.tolist() != answers["exhaustive"].rows.tolist():
            raise RuntimeError(f"query {number}: the exact answer is not the exhaustive one")
        shares.append(answers["exact"].scored / LARGE)
    shown = {f"{name}_ms": round(float(np.median(taken)), 3) for name, taken in times.items()}
    return {
        "items": LARGE,
        "nodes": LARGE_NODES,
        "share": float(np.median(shares)),
        "bounds_ms": round(built, 1),
    } | shown


def main() -> None:
    use_threads(1)
    config = Config()
    data = {"planted": planted(), "ml-100k": load("ml-100k", limit=EVENTS)}
    if (Path(os.environ.get("HSNN_DATA", "")) / "globo-news").is_dir():
        data["globo-news"] = load("globo-news", limit=EVENTS)
    found = {"events": EVENTS, "cores": os.cpu_count(), "config": digest("default"), "search_alone": large()}
    found["sets"] = {name: measure(one, config) for name, one in data.items()}
    RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    print(RESULTS.read_text())


if __name__ == "__main__":
    main()

"""Time of the modes `exact` and `exhaustive`, and of similar items, in process, one thread, in turns.

    python -m benchmarks.serving.modes
    python -m benchmarks.serving.modes --items 100000 --json FILE

Each request of a mode is asked of engine and reference path for a time that nobody has asked about yet (states and
bounds are made), and for that time again. Both must give the same items, up to equal scores. Similar items are asked
for by both paths, and by comparing every item, which is what recall is measured against.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.arguments import positive
from benchmarks.churn.planted_data import NOW, user_name
from benchmarks.paths import RESULTS_FOLDER
from benchmarks.serving.planted_mirror import plant
from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.schema import Answer, Request, SimilarRequest
from hsnn.serving.search.retrieval import retrieve
from hsnn.serving.search.similar import similar
from hsnn.trainer.threads import use_threads

RESULTS = RESULTS_FOLDER / "serving_modes.json"
MODES = ("exact", "exhaustive")

# Requests, each of another user: a median of so many is steady. And items per answer, as the other programs ask for.
ASKED, K = 30, 100

LIMITS = RetrievalLimits(whole_leaves=True)

# Scores of both paths differ by rounding: items whose scores differ by less may change places.
_ROUNDING = 1e-5


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    use_threads(1)
    sizes = {str(items): measured(items, options.seed) for items in options.items}
    found = {"cores": os.cpu_count(), "k": K, "requests": ASKED, "sizes": sizes}
    options.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    print(options.json.read_text("utf-8"))


def measured(items: int, seed: int) -> dict[str, Any]:
    """Milliseconds of CPU time (medians) by mode, at a new time and at the same time again, and the share scored."""
    made = plant(items, ASKED, seed)
    mirrors = {"engine": made.mirror(engine=True), "reference": made.mirror(engine=False)}
    return {mode: _mode(mirrors, mode) for mode in MODES} | {"similar": _similar(mirrors, made.first_row)}


def _mode(mirrors: dict[str, Mirror], mode: str) -> dict[str, Any]:
    times: dict[str, list[float]] = {f"{path}, {when}": [] for path in mirrors for when in ("new time", "again")}
    shares: dict[str, list[float]] = {path: [] for path in mirrors}
    for number in range(ASKED + 1):  # the first one compiles kernels
        request = Request(user=user_name(number % ASKED), k=K, mode=mode, as_of=NOW + number)
        answers = {}
        for path, mirror in mirrors.items():
            for when in ("new time", "again"):
                began = time.process_time()
                answers[path] = retrieve(mirror, [request], LIMITS)[0]
                if number:
                    times[f"{path}, {when}"].append(1000 * (time.process_time() - began))
            shares[path].append(answers[path].stats.scored_share)
        _check(*answers.values())
    medians = {name: round(float(np.median(found)), 2) for name, found in times.items()}
    return {"ms": medians, "scored_share": {path: round(float(np.median(found)), 4) for path, found in shares.items()}}


def _similar(mirrors: dict[str, Mirror], first_row: int) -> dict[str, Any]:
    ids = mirrors["engine"].state.items.ids.ids[first_row:]
    times: dict[str, list[float]] = {name: [] for name in [*mirrors, "every item"]}
    recalls: dict[str, list[float]] = {name: [] for name in mirrors}
    shares = []
    for number in range(ASKED + 1):
        given, found = ids[number * (len(ids) // (ASKED + 1))], {}
        for name in times:
            request = SimilarRequest(items=[given], k=K, exhaustive=name not in mirrors)
            began = time.process_time()
            found[name] = similar(mirrors.get(name, mirrors["engine"]), request, LIMITS)
            if number:
                times[name].append(1000 * (time.process_time() - began))
        best = set(found["every item"].items)
        for name, taken in recalls.items():
            taken.append(len(best.intersection(found[name].items)) / len(best))
        shares.append(found["engine"].stats.scored_share)
    return {
        "ms": {name: round(float(np.median(taken)), 2) for name, taken in times.items()},
        "recall": {name: round(float(np.mean(taken)), 4) for name, taken in recalls.items()},
        "scored_share": round(float(np.median(shares)), 4),
    }


def _check(one: Answer, other: Answer) -> None:
    if not np.allclose(one.scores, other.scores, atol=_ROUNDING) or not one.stats.certified:
        raise RuntimeError("the engine does not find what the reference path finds")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time of the modes exact and exhaustive.")
    parser.add_argument("--items", type=positive, nargs="+", default=[10_000, 100_000], help="sizes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=RESULTS, help="write the figures there")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()

"""Time of single training steps over many items, through a refit and a new half-life. Writes `results/steps.json`.

    make bench ARGS='parts.step_times --items 1000000'

Nodes are seeded, refitted once, and the half-life changes once. `cpu` is the time of the step's own thread, without its
waits for k-means or for a core; `wall` is all of it.
"""

from __future__ import annotations

import argparse
import time

import msgspec
import numpy as np

from benchmarks.arguments import positive
from benchmarks.checkpoint.large_learner import LargeLearner
from benchmarks.paths import RESULTS_FOLDER
from hsnn.trainer.features.item_counters import HALF_LIVES
from hsnn.trainer.index.maintenance import refit_interval
from hsnn.trainer.threads import use_threads

RESULTS = RESULTS_FOLDER / "steps.json"
_PLAIN = 60
"""Steps measured with nothing else under way."""


def measured(large: LargeLearner, *, until_idle: bool) -> dict[str, float]:
    """Milliseconds of `_PLAIN` steps or, with `until_idle`, of all until nothing is under way: median, 99%, largest."""
    learner, cpu, wall = large.learner, list[float](), list[float]()
    while True:
        started = time.thread_time()
        wall.append(1000 * large.step())
        cpu.append(1000 * (time.thread_time() - started))
        idle = learner.network.fit is None and learner.passes.assigned is None and learner.passes.half_life is None
        if idle if until_idle else len(cpu) == _PLAIN:
            break
    figures = {"steps": float(len(cpu))}
    for name, times in (("cpu", cpu), ("wall", wall)):
        figures |= {f"{name}_p50": float(np.median(times)), f"{name}_p99": float(np.percentile(times, 99))}
        figures[f"{name}_max"] = max(times)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=positive, default=1_000_000, help="items, and users")
    rows = parser.parse_args().items
    use_threads(1)
    large = LargeLearner(rows)
    learner = large.learner
    found = {"seeding": measured(large, until_idle=True), "plain": measured(large, until_idle=False)}
    interval = refit_interval(learner.config.index.kmeans_every, len(learner.leaves))
    learner.events += -learner.events % interval - 1  # the next step passes a multiple of it
    large.step()
    found["refit"] = measured(large, until_idle=True)
    learner.half_lives.loss[:] = 100.0
    learner.half_lives.loss[(learner.half_life + 1) % len(HALF_LIVES)] = 0.0
    learner.steps += -learner.steps % 64  # half-lives are compared every 64 steps
    found["half_life"] = measured(large, until_idle=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode({"items": rows, "milliseconds": found})) + b"\n")
    print(RESULTS.read_text())


if __name__ == "__main__":
    main()

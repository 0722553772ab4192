"""Measure the static protocol on Gowalla beside published figures. Writes `results/gowalla.json`.

    make bench ARGS='gowalla --seeds 3'

Needs HSNN_DATA with a folder `gowalla` that holds LightGCN's split. Decompositions and the figures of each seed are
kept in `.cache/gowalla`: a run that was stopped goes on with the next seed. After a change of the code use `--fresh`.
"""

from __future__ import annotations

import argparse
import shutil

import msgspec

from benchmarks.arguments import positive
from benchmarks.paths import RESULTS_FOLDER, ROOT
from hsnn.evaluation.static.protocol import BackboneSettings, evaluate_static
from hsnn.streaming.datasets.static_pairs import load_static
from hsnn.trainer.threads import use_threads

RESULTS = RESULTS_FOLDER / "gowalla.json"
CACHE = ROOT / ".cache" / "gowalla"
# passes over the users, of test-time training and of ordinary steps
EXTRA_PASSES = 2


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="gowalla", help="a static data set, NAME or NAME:FOLDER")
    parser.add_argument("--seeds", type=positive, default=3, help="runs of the levels, each with the next seed")
    parser.add_argument("--fresh", action="store_true", help="forget what was kept")
    chosen = parser.parse_args(arguments)
    if chosen.fresh:
        shutil.rmtree(CACHE, ignore_errors=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    use_threads(1)
    found = evaluate_static(
        load_static(chosen.data),
        BackboneSettings(),
        CACHE,
        lambda line: print(line, flush=True),
        seeds=chosen.seeds,
        extra_passes=EXTRA_PASSES,
        kept=CACHE,
    )
    RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    print(f"written to {RESULTS}")


if __name__ == "__main__":
    main()

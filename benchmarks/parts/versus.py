"""Training speed of this checkout against another one's, alternating, in processor time. Prints both and their ratio.

    git worktree add --detach ../before COMMIT
    make bench ARGS='parts.versus ../before --data globo-news --events 60000 --rounds 3'

Processor time, as other programs on the machine disturb it less than the time on the clock. The rounds alternate,
so that what disturbs all the same disturbs both. The first ten batches, in which a process loads its kernels, are not
timed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

from benchmarks.arguments import positive

_LOOP = """
import sys, time
from hsnn.config.schema import Config
from hsnn.evaluation.harness.dataset_config import config_for_dataset
from hsnn.streaming.datasets import load
from hsnn.trainer.threads import use_threads
from hsnn.trainer.training.learner import Learner
config, data = Config(), load(sys.argv[1], limit=int(sys.argv[2]))
use_threads(1)
learner, batches = Learner(config_for_dataset(config.trainer, data)), list(data.batches(config.streaming.batch_size))
for batch in batches[:10]:
    learner.train(learner.prepare(batch))
started, before = time.process_time(), learner.events
for batch in batches[10:]:
    learner.train(learner.prepare(batch))
print((learner.events - before) / (time.process_time() - started))
"""


def speed(checkout: Path, data: str, events: int) -> float:
    """Events per second of processor time of the training loop of a checkout."""
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    command = [sys.executable, "-c", _LOOP, data, str(events)]
    done = subprocess.run(command, cwd=checkout, env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="folder of the other checkout")
    parser.add_argument("--data", default="globo-news")
    parser.add_argument("--events", type=positive, default=60_000)
    parser.add_argument("--rounds", type=positive, default=3)
    arguments = parser.parse_args()
    ratios = []
    for number in range(1, arguments.rounds + 1):
        before, now = (
            speed(folder.resolve(), arguments.data, arguments.events) for folder in (arguments.before, Path())
        )
        ratios.append(now / before)
        print(f"round {number}: {before:,.0f} -> {now:,.0f} events/s, {now / before:.2f} times", flush=True)
    print(f"{arguments.data}: {median(ratios):.2f} times, median of {arguments.rounds}")


if __name__ == "__main__":
    main()
